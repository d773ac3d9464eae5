"""The digest of a request for scores: equal where data, model, capture and metrics are equal."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from nodelens.capture.checkpoint.checkpoint import plan_key
from nodelens.version import installed_version

if TYPE_CHECKING:
    from nodelens.scoring.scorer import ScoreRequest


def digest_of(request: ScoreRequest) -> str:
    """Return the digest of everything that scores are computed from, 64 hexadecimal digits.

    Every byte of the weights and of the statistics is read. A metric whose text does not tell what
    it computes, such as one that holds a function, has a new digest every time.
    """
    found = hashlib.sha256()
    for part in _parts(request):
        data = part.encode() if isinstance(part, str) else _bytes(part)
        found.update(len(data).to_bytes(8, "little"))
        found.update(data)
    return found.hexdigest()


def _parts(request: ScoreRequest) -> Iterator[str | Tensor]:
    capture = request.capture
    yield f"scores by {installed_version()} of {plan_key(capture.plan)}"
    yield repr(request.graph.groups)
    yield from _tensors(request.model.state_dict())
    yield capture.rows
    yield repr(sorted(capture.counts.lost.items()) + sorted(capture.counts.broken.items()))
    for place in sorted(capture.states):
        states = {repr(statistic): state for statistic, state in capture.states[place].items()}
        for statistic in sorted(states):
            yield f"{place}: {statistic}"
            yield from _tensors(states[statistic])
    for name, metric in sorted(request.metrics.items()):
        text = f"{name}: {type(metric).__module__}.{type(metric).__qualname__} {metric!r}"
        yield f"{text} {secrets.token_hex()}" if " at 0x" in text else text


def _tensors(tensors: Mapping[str, Any]) -> Iterator[str | Tensor]:
    for name, value in tensors.items():
        if isinstance(value, Tensor):
            yield f"{name} {tuple(value.shape)} {value.dtype}"
            yield value
        else:
            yield f"{name} {value!r}"


def _bytes(tensor: Tensor) -> memoryview:
    plain = tensor.detach().cpu().contiguous().reshape(-1)
    return plain.view(torch.uint8).numpy().data

"""Rows of tokens with labels: windows of a stream, or one row per document."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from attrs import evolve, frozen
from torch import Tensor
from torch.nn import functional as F

from nodelens.errors import DataError
from nodelens.interfaces.dataset import Samples
from nodelens.interfaces.statistic import IGNORED
from nodelens.seeding import generator

if TYPE_CHECKING:
    from nodelens_hf.stream import TokenStream
    from nodelens_hf.tokenizers import Tokens


@frozen
class WindowSettings:
    """Split of a stream: `length` tokens per window, a new window every `stride` tokens.

    Windows that overlap count only the tokens that no earlier window has counted. `limit` windows
    are drawn with `seed` if there are more.
    """

    length: int
    stride: int
    limit: int | None = None
    seed: int = 0


def windows(stream: TokenStream, cut: WindowSettings) -> Samples:
    """Return windows ``(windows, length)`` and, as labels, the next token of every position.

    The last position of a window has no label, as in the perplexity of papers: a window of T tokens
    makes T − 1 predictions. The rest at the end of the stream is not used. Raises `DataError` for a
    text shorter than a window.
    """
    total = len(stream.ids)
    if total < cut.length:
        raise DataError(
            f"data.window: the text has {total} tokens and a window {cut.length}; give more text, "
            "a smaller window, or layout: padded"
        )
    starts = np.arange(0, total - cut.length + 1, cut.stride)
    if cut.limit is not None and cut.limit < len(starts):
        drawn = torch.randperm(len(starts), generator=generator(cut.seed, "text", "windows"))
        starts = np.sort(starts[drawn[: cut.limit].numpy()])
    rows = np.stack([stream.ids[first : first + cut.length] for first in starts])
    inputs = torch.from_numpy(rows.astype(np.int64))
    targets = next_tokens(inputs)
    overlap = cut.length - cut.stride
    later = torch.from_numpy(starts > 0)
    targets[:, : max(overlap - 1, 0)].masked_fill_(later.unsqueeze(1), IGNORED)
    return Samples(inputs, targets)


def next_tokens(inputs: Tensor) -> Tensor:
    """Return the token after each position, -100 after the last, ``(rows, positions)``."""
    end = torch.full_like(inputs[:, :1], IGNORED)
    return torch.cat([inputs[:, 1:], end], dim=1)


def padded(rows: Sequence[Sequence[int]], length: int, tokens: Tokens) -> tuple[Tensor, Tensor]:
    """Return token ids and attention mask, ``(rows, positions)`` each, padded on the right.

    Rows are truncated after `length` tokens; the longest decides the number of positions.
    """
    pad = tokens.pad if tokens.pad is not None else tokens.end
    if pad is None:
        raise DataError("data.layout: the tokenizer has neither a padding nor an end token")
    cut = [list(row[:length]) for row in rows]
    longest = max(map(len, cut))
    inputs = torch.full((len(cut), longest), pad, dtype=torch.int64)
    mask = torch.zeros_like(inputs)
    for number, row in enumerate(cut):
        inputs[number, : len(row)] = torch.tensor(row, dtype=torch.int64)
        mask[number, : len(row)] = 1
    return inputs, mask


def masked(samples: Samples, tokens: Tokens, fraction: float, seed: int) -> Samples:
    """Return samples with a fraction of the tokens masked; only masked tokens have labels.

    Every chosen token becomes the mask token; tokens that begin, end and pad rows are not chosen.
    """
    if tokens.mask is None:
        raise DataError("data.objective: the tokenizer has no mask token; use objective: next")
    random = torch.rand(samples.inputs.shape, generator=generator(seed, "text", "masked"))
    chosen = random < fraction
    if "attention_mask" in samples.fields:
        chosen &= samples.fields["attention_mask"].bool()
    for special in {tokens.begin, tokens.end, tokens.pad} - {None}:
        chosen &= samples.inputs != special
    inputs = samples.inputs.masked_fill(chosen, tokens.mask)
    targets = samples.inputs.masked_fill(~chosen, IGNORED)
    return Samples(inputs, targets, samples.fields)


def matched(parts: Sequence[Samples], tokens: Tokens) -> list[Samples]:
    """Return samples padded on the right to equal numbers of positions, field by field."""
    pad = tokens.pad if tokens.pad is not None else tokens.end
    longest = max(each.inputs.shape[1] for each in parts)

    def wider(values: Tensor, length: int, fill: int | None) -> Tensor:
        return F.pad(values, (0, length - values.shape[1]), value=fill)

    def field(name: str) -> int:
        return max(each.fields[name].shape[1] for each in parts)

    return [
        evolve(
            each,
            inputs=wider(each.inputs, longest, pad),
            targets=each.targets
            if not each.sequences
            else wider(each.targets, max(part.targets.shape[1] for part in parts), IGNORED),
            fields={
                name: wider(values, field(name), IGNORED if name == "labels" else 0)
                for name, values in each.fields.items()
            },
        )
        for each in parts
    ]


def closed_row(tokens: Tokens, length: int) -> tuple[list[int], list[int]]:
    """Return the ids that begin and end a row; raises `DataError` if they leave no room."""
    begin = [] if tokens.begin is None else [tokens.begin]
    end = [] if tokens.end is None or tokens.end == tokens.begin else [tokens.end]
    if length - len(begin) - len(end) < 1:
        raise DataError(f"data.window: {length} tokens leave no room for text")
    return begin, end


def unlabelled(samples: Samples) -> Samples:
    """Return samples without any label."""
    return evolve(samples, targets=torch.full_like(samples.targets, IGNORED))


def encoded(
    texts: Iterable[str],
    tokens: Tokens,
    length: int,
    *,
    closed: bool = True,
    begun: bool = True,
) -> list[list[int]]:
    """Return the ids of documents between begin and end token, where the tokenizer has them.

    A document that is too long is truncated; with `closed` the end token is kept. Without `begun`
    there is no begin token, as in the targets of encoder-decoders.
    """
    begin, end = closed_row(tokens, length)
    if not begun:
        begin, end = [], [] if tokens.end is None else [tokens.end]
    rows = [[*begin, *ids, *end] for ids in tokens.encode(list(texts))]
    if closed:
        return [row if len(row) <= length else [*row[: length - len(end)], *end] for row in rows]
    return [row[:length] for row in rows]

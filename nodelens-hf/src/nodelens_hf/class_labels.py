"""Match of the outputs of a pretrained head with the classes of the data."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

from attrs import evolve

from nodelens.data.class_names import is_integer
from nodelens.errors import ModelError
from nodelens_hf.tasks import TASKS

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

    from nodelens.interfaces.backend import ModelRequest
    from nodelens_hf.backend import HuggingFace

log = logging.getLogger("nodelens")
_SHOWN = 8
"""Number of names that a message lists."""
REMEDY = (
    "rename the labels of the data, or set model.labels to the classes of the data in the order of "
    "the outputs"
)


def with_labels(backend: HuggingFace, request: ModelRequest) -> ModelRequest:
    """Return a request for as many classes as ``model.labels`` names, if set.

    Raises `ModelError` for labels that name a class twice or that lack a class of the data.
    """
    labels = backend.labels
    if labels is None:
        return request
    if not TASKS[backend.task].labels:
        raise ModelError(f"model.labels: the task {backend.task} has no classes; leave it out")
    if len(set(labels)) < len(labels):
        raise ModelError(f"model.labels names a class twice: {', '.join(labels)}")
    if absent := _absent(request.class_names, labels):
        raise ModelError(f"model.labels lacks classes of the data: {_listed(absent, labels)}")
    return evolve(request, classes=len(labels))


def output_names(
    backend: HuggingFace, request: ModelRequest, model: PreTrainedModel, missing: Sequence[str]
) -> tuple[str, ...] | None:
    """Return the names of a pretrained head's outputs in terms of the data's classes.

    None where the data's own order holds: no classes, a new random head (its weights are among the
    `missing`), or outputs without names (LABEL_0, LABEL_1, …) for classes with names. Integers that
    are no names are the numbers of outputs. Raises `ModelError` for classes that the head does not
    have, each with the closest one.
    """
    names, classes = names_of(model.config), request.class_names
    if backend.labels is not None or not TASKS[backend.task].labels or not classes:
        return backend.labels
    if not _absent(classes, names):
        _check_once(classes, names, str(backend.pretrained))
        return names
    if any(not name.startswith(f"{model.base_model_prefix}.") for name in missing):
        return None
    if all(map(is_integer, classes)):
        if all(0 <= int(name) < len(names) for name in classes):
            return tuple(map(str, range(len(names))))
        if unnamed(names) and len(classes) == len(names):
            return None
    elif unnamed(names):
        log.warning(
            "the outputs of %s have no names: they are taken for %s, in this order; set "
            "model.labels if the model was trained with another order",
            backend.pretrained,
            ", ".join(classes[:_SHOWN]) + (", …" if classes[_SHOWN:] else ""),
        )
        return None
    raise ModelError(unknown_classes(str(backend.pretrained), classes, names))


def names_of(config: PretrainedConfig) -> tuple[str, ...]:
    """Return the names of the outputs in a configuration, in the outputs' order."""
    return tuple(str(name) for _, name in sorted((config.id2label or {}).items()))


def unnamed(names: Sequence[str]) -> bool:
    """Return whether names are the default names of transformers."""
    return all(name == f"LABEL_{number}" for number, name in enumerate(names))


def unknown_classes(source: str, classes: Sequence[str], names: Sequence[str]) -> str:
    """Return the message for classes of the data that a head with these names lacks."""
    absent = _absent(classes, names)
    known = ", ".join(names[:_SHOWN]) + (f", … ({len(names)})" if names[_SHOWN:] else "")
    return f"{source}: its head has {known}, and the data {_listed(absent, names)}; {REMEDY}"


def _check_once(classes: Sequence[str], names: Sequence[str], source: str) -> None:
    twice = [name for name in classes if names.count(name) > 1]
    if twice:
        raise ModelError(
            f"{source}: its head has several outputs called {', '.join(twice)}; {REMEDY}"
        )


def _absent(classes: Sequence[str], names: Sequence[str]) -> list[str]:
    known = set(names)
    return [name for name in classes if name not in known]


def _listed(absent: Sequence[str], names: Sequence[str]) -> str:
    """Return the absent names as text, each with the closest of the known ones."""
    known = {name.casefold(): name for name in names}
    shown = []
    for name in absent[:_SHOWN]:
        close = get_close_matches(name.casefold(), known, n=1)
        shown.append(f"{name!r}" + (f" (did you mean {known[close[0]]!r}?)" if close else ""))
    return ", ".join(shown) + (f" and {len(absent) - _SHOWN} more" if absent[_SHOWN:] else "")

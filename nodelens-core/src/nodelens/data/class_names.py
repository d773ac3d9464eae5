"""The order of class names, and classes renumbered in the order of a model's outputs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from attrs import evolve

from nodelens.errors import ModelError
from nodelens.interfaces.statistic import IGNORED

if TYPE_CHECKING:
    from nodelens.data.splits import Splits
    from nodelens.interfaces.dataset import Samples


def is_integer(name: str) -> bool:
    """Return whether a name is an integer as Python writes it, such as 10 or -1."""
    digits = name.removeprefix("-")
    return digits.isdecimal() and str(int(name)) == name


def ordered(names: Iterable[str]) -> tuple[str, ...]:
    """Return each name once, in the order of the alphabet; integers by their value (2, 10)."""
    found = set(names)
    return tuple(sorted(found, key=int if all(map(is_integer, found)) else None))


def renumbered(splits: Splits, names: tuple[str, ...], origin: str) -> Splits:
    """Return the splits with classes numbered as in `names`, a model's outputs in order.

    Names after the last one that the data have are left out. Raises `ModelError` where a class of
    the data is not among them.
    """
    absent = [name for name in splits.classes if name not in names]
    if absent:
        raise ModelError(f"{origin} has no output for the classes {', '.join(absent)} of the data")
    places = torch.tensor([names.index(name) for name in splits.classes])
    if not len(places) or torch.equal(places, torch.arange(len(places))):
        return splits
    train, validation, test = (
        _moved(part, places) for part in (splits.train, splits.validation, splits.test)
    )
    classes = names[: int(places.max()) + 1]
    return evolve(splits, train=train, validation=validation, test=test, classes=classes)


def _moved(samples: Samples, places: torch.Tensor) -> Samples:
    """Return samples with ``places[i]`` for class i; positions without a label keep -100."""
    known = samples.targets != IGNORED
    moved = places[samples.targets.clamp(min=0)]
    return evolve(samples, targets=moved.where(known, samples.targets))

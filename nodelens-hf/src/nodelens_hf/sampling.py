"""Random sample of a stream that is too long to keep."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import torch

from nodelens.seeding import generator

T = TypeVar("T")


def reservoir(stream: Iterable[T], limit: int | None, seed: int) -> list[T]:
    """Return at most `limit` items in their order, with equal chances (Vitter 1985, R)."""
    random = generator(seed, "text", "documents")
    kept: list[tuple[int, T]] = []
    for number, item in enumerate(stream):
        if limit is None or number < limit:
            kept.append((number, item))
            continue
        place = int(torch.randint(number + 1, (1,), generator=random))
        if place < limit:
            kept[place] = (number, item)
    return [item for _, item in sorted(kept, key=lambda pair: pair[0])]

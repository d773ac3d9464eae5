"""Training of weights of few bits in float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


@contextmanager
def in_float32(model: nn.Module) -> Iterator[None]:
    """Make parameters and buffers of less than 32 bits float32, and round them back in the end.

    A step of AdamW is often smaller than what bfloat16 can add to a weight. The parameters stay the
    same objects, so that ties hold.
    """
    tensors = chain(model.parameters(), model.buffers())
    small = [each for each in tensors if each.is_floating_point() and each.dtype.itemsize < 4]
    before = [each.dtype for each in small]
    try:
        for each in small:
            each.data = each.data.float()
        yield
    finally:
        for each, dtype in zip(small, before, strict=True):
            each.data = each.data.to(dtype)

"""Further inputs made from the example: more rows, other values within the example's range."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from attrs import evolve
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

from nodelens.seeding import generator

if TYPE_CHECKING:
    from nodelens.removal.forward import Example

# By how much redrawn numbers are larger than those of the example.
SCALE = 1.7


def derived(example: Example) -> Iterator[Example]:
    """Yield inputs that differ from the example in batch size and values, the most different first.

    The caller tries which of them the model takes. Numbers are drawn from those of the
    example, times `SCALE`; whole numbers from the range that it spans; where it holds only zeros
    and ones, or an infinity, whole rows are drawn.
    """
    rows = _rows(example)
    if rows:
        more = 2 * rows + 1
        yield _redrawn(example, rows, more, f"a batch of {more} with other values")
    yield _redrawn(example, rows, rows, "other values")
    if rows:
        yield _repeated(example, rows, 2 * rows + 1)


def _rows(example: Example) -> int:
    """Return the batch size, the first axis of most tensors; 0 without any tensor."""
    leaves = tree_leaves((example.args, dict(example.kwargs)))
    sizes = Counter(len(each) for each in leaves if isinstance(each, Tensor) and each.ndim)
    return max(sizes, key=lambda size: (sizes[size], size)) if sizes else 0


def _mapped(example: Example, change: Any, name: str) -> Example:
    args, kwargs = tree_map_only(Tensor, change, (example.args, dict(example.kwargs)))
    return evolve(example, args=args, kwargs=kwargs, name=name)


def _repeated(example: Example, rows: int, more: int) -> Example:
    """Return the example with its rows repeated in turn."""

    def repeat(x: Tensor) -> Tensor:
        return x[torch.arange(more, device=x.device) % rows] if _is_batch(x, rows) else x

    return _mapped(example, repeat, f"a batch of {more}")


def _redrawn(example: Example, rows: int, count: int, name: str) -> Example:
    draw = generator(0, "removal", "derived inputs")

    def redraw(x: Tensor) -> Tensor:
        return _drawn(x, count if _is_batch(x, rows) else None, draw)

    return _mapped(example, redraw, name)


def _is_batch(x: Tensor, rows: int) -> bool:
    return x.ndim > 0 and len(x) == rows


def _drawn(x: Tensor, count: int | None, draw: torch.Generator) -> Tensor:
    """Return other values for a tensor, in `count` rows, or in the tensor's shape for None."""
    if x.is_meta or not x.numel() or x.ndim == 0:
        return x
    shape = tuple(x.shape) if count is None else (count, *x.shape[1:])
    if x.is_complex() or _is_mask(x):
        rows = torch.randint(len(x), (shape[0],), generator=draw)
        return x[rows.to(x.device)]
    if not x.is_floating_point():
        low, high = int(x.min()), int(x.max())
        return torch.randint(low, high + 1, shape, generator=draw).to(x.device, x.dtype)
    if float(x.min()) == float(x.max()):  # such as zeros, of which no others can be drawn
        return torch.randn(shape, generator=draw).to(x.device, x.dtype)
    chosen = torch.randint(x.numel(), shape, generator=draw)
    return SCALE * x.flatten()[chosen.to(x.device)]


def _is_mask(x: Tensor) -> bool:
    """Whether the values mark positions: true and false, zero and one, or minus infinity."""
    if x.dtype == torch.bool or (x.is_floating_point() and not bool(x.isfinite().all())):
        return True
    return bool(((x == 0) | (x == 1)).all()) and bool((x == 1).any())

"""Further inputs made from the example: more rows, other values within the example's range."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from attrs import evolve
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from nodelens.seeding import generator

if TYPE_CHECKING:
    from nodelens.removal.forward import Example

# By how much redrawn numbers are larger than those of the example.
SCALE = 1.7


def derived(example: Example, whole: int) -> Iterator[Example]:
    """Yield inputs that differ from the example in batch size and values, the most different first.

    The caller tries which of them the model takes. Numbers are drawn from those of the
    example, times `SCALE`; whole numbers from the range that it spans; where it holds only zeros
    and ones, or an infinity, whole rows are drawn. Of equal values no others can be drawn so: those
    are tried first with whole numbers below `whole`, and with normal ones.
    """
    rows = _rows(example)
    for bound in (whole, 0) if _constants(example) else (0,):
        if rows:
            more = 2 * rows + 1
            yield _redrawn(example, more, bound, f"a batch of {more} with other values")
        yield _redrawn(example, rows, bound, "other values")
    if rows:
        yield _repeated(example, rows, 2 * rows + 1)


def least_vocabulary(model: nn.Module) -> int:
    """Return the fewest rows of the model's embeddings: smaller whole numbers fit all; else 2."""
    rows = (each.num_embeddings for each in model.modules() if isinstance(each, nn.Embedding))
    return min(rows, default=2)


def _constants(example: Example) -> list[Tensor]:
    """Return the tensors with equal values, to be drawn otherwise.

    Ones may be a mask, which stays as long as another tensor varies.
    """
    leaves = tree_leaves((example.args, dict(example.kwargs)))
    drawn = [x for x in leaves if isinstance(x, Tensor) and x.numel() and x.ndim and not x.is_meta]
    equal = [x for x in drawn if not x.is_complex() and bool((x == x.flatten()[0]).all())]
    varied = len(equal) < len(drawn)
    return [x for x in equal if not (varied and _is_mask(x))]


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


def _redrawn(example: Example, count: int, bound: int, name: str) -> Example:
    """Redraw all values, in `count` rows; equal values too if `bound` is given."""
    draw, rows = generator(0, "removal", "derived inputs"), _rows(example)
    widened = {id(x) for x in _constants(example)} if bound else set()

    def redraw(x: Tensor) -> Tensor:
        shape = (count, *x.shape[1:]) if _is_batch(x, rows) else tuple(x.shape)
        return _other(x, shape, bound, draw) if id(x) in widened else _drawn(x, shape, draw)

    return _mapped(example, redraw, name)


def _is_batch(x: Tensor, rows: int) -> bool:
    return x.ndim > 0 and len(x) == rows


def _other(x: Tensor, shape: tuple[int, ...], bound: int, draw: torch.Generator) -> Tensor:
    """Return other values than one: whole numbers below `bound`, or normal ones."""
    if x.is_floating_point():
        return torch.randn(shape, generator=draw).to(x.device, x.dtype)
    high = max(bound, int(x.flatten()[0]) + 1) if x.dtype != torch.bool else 2
    low = min(0, int(x.flatten()[0]))
    return torch.randint(low, high, shape, generator=draw).to(x.device, x.dtype)


def _drawn(x: Tensor, shape: tuple[int, ...], draw: torch.Generator) -> Tensor:
    """Return values of the kind of a tensor, in a shape."""
    if x.is_meta or not x.numel() or x.ndim == 0:
        return x
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

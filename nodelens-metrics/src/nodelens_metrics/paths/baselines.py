"""Straight path from a baseline to the data, in the space of the model's inputs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from attrs import evolve
from torch import Tensor, nn

from nodelens.errors import CaptureError

if TYPE_CHECKING:
    from nodelens.capture.batches import Batch

Baseline = Literal["zero", "mean"]
"""Start of a path: zeros, or every row's own mean (see `blank` and `mean_token`)."""

_EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)
_MASK = "attention_mask"
"""The argument that says which tokens count: never moved, of any type."""


@contextmanager
def at_point(
    model: nn.Module, batch: Batch, fraction: float, baseline: Baseline
) -> Iterator[Batch]:
    """Give the batch, and let embeddings return vectors, at the fraction `fraction` of the path.

    Float tensors among the inputs are moved directly, except an attention mask; tokens are moved as
    embedding vectors. From zeros all embeddings move, also those of positions. From the mean only
    the embeddings of the batch's own tokens move: the others are equal for all rows. Raises
    `CaptureError` where no input of the model can be moved.
    """
    inputs = {key: value for key, value in batch.kwargs.items() if key != _MASK}
    tensors = [v for v in (*batch.args, *inputs.values()) if isinstance(v, Tensor)]
    tokens = {_place(value) for value in tensors if not value.is_floating_point()}
    moved = [value for value in tensors if value.is_floating_point()]

    def embedded(_: nn.Module, args: Any, kwargs: Any, output: Tensor) -> Tensor:
        read = args[0] if args else kwargs["input"]
        if baseline == "mean" and _place(read) not in tokens:
            return output
        moved.append(output)
        start = mean_token(output, batch.mask) if baseline == "mean" else 0.0 * output
        return start + fraction * (output - start)

    def point(value: Any) -> Any:
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        start = blank(value, batch.mask) if baseline == "mean" else 0.0 * value
        return start + fraction * (value - start)

    args = tuple(point(value) for value in batch.args)
    kwargs = {**batch.kwargs, **{key: point(value) for key, value in inputs.items()}}
    modules = [module for module in model.modules() if isinstance(module, _EMBEDDINGS)]
    handles = [
        module.register_forward_hook(embedded, prepend=True, with_kwargs=True) for module in modules
    ]
    try:
        yield evolve(batch, args=args, kwargs=kwargs)
    finally:
        for handle in handles:
            handle.remove()
    if not moved:
        raise CaptureError(
            f"nothing can be moved along a path from {baseline}: the model reads no float tensor, "
            "and no embedding looks up the batch's own tokens; leave conductance out"
        )


def _place(tensor: Tensor) -> int:
    """Return the storage location of a tensor's values, equal for views of one tensor."""
    return tensor.untyped_storage().data_ptr()


def blank(values: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return every row's own mean instead of its values, ``(rows, …)``; padding does not count.

    For images, ``(rows, channels, height, width)`` and beyond, the mean of each channel; else the
    mean of all values of a row. Such a baseline does not depend on the batch.
    """
    axes = tuple(range(2 if values.ndim >= 4 else 1, values.ndim))
    if not axes:
        return values
    return _mean(values, mask, axes).expand_as(values)


def mean_token(vectors: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the mean over the tokens of each row, ``(…, 1, features)``; padding does not count."""
    return vectors if vectors.ndim < 3 else _mean(vectors, mask, (-2,))


def _mean(values: Tensor, mask: Tensor | None, axes: tuple[int, ...]) -> Tensor:
    """Return the mean over some axes, which are kept, of the positions of a mask that fits."""
    if mask is None or values.ndim != 3 or mask.shape != values.shape[:2]:
        return values.mean(axes, keepdim=True)
    weight = mask.to(values).unsqueeze(-1).expand_as(values)
    return (values * weight).sum(axes, keepdim=True) / weight.sum(axes, keepdim=True).clamp(min=1.0)

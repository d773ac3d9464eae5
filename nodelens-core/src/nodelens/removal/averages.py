"""Averages and norms over the nodes that stay, in a model from which nothing has been removed.

A LayerNorm over masked nodes and one from which these nodes are removed differ: the number of nodes
enters. What the removed model must compute is therefore the masked model in which every average
leaves the absent nodes out, and that is what its removal is proved against.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from attrs import frozen
from torch import Tensor


@frozen(eq=False)
class Average:
    """One averaging operator of a forward: its name, the shape that it reads, and what is present.

    `present` maps axes to ``(indices,)`` of bool; axes on which everything is present are left out.
    """

    name: str
    shape: tuple[int, ...]
    present: Mapping[int, Tensor]

    def weights(self, x: Tensor) -> Tensor:
        """Return which values of the tensor are present, in its shape."""
        there = torch.ones(x.shape, dtype=torch.bool, device=x.device)
        for axis, kept in self.present.items():
            sizes = [1] * x.ndim
            sizes[axis] = -1
            there = there & kept.to(x.device).view(sizes)
        return there


def _dims(x: Tensor, dim: int | Sequence[int] | None) -> list[int]:
    if dim is None or dim == []:
        return list(range(x.ndim))
    return [dim] if isinstance(dim, int) else list(dim)


def _mean(
    there: Tensor,
    x: Tensor,
    dim: int | Sequence[int] | None = None,
    keepdim: bool = False,
    **_: Any,
) -> Tensor:
    dims = _dims(x, dim)
    # Where nothing is present, nobody reads the average: any count but zero will do.
    count = there.sum(dims, keepdim).clamp(min=1)
    return torch.where(there, x, 0.0).sum(dims, keepdim) / count


def _var(
    there: Tensor,
    x: Tensor,
    dim: int | Sequence[int] | None = None,
    *,
    correction: float | None = None,
    keepdim: bool = False,
) -> Tensor:
    dims, less = _dims(x, dim), 1 if correction is None else correction
    count = there.sum(dims, keepdim).clamp(min=1)
    spread = (x - _mean(there, x, dims, keepdim=True)).square()
    return torch.where(there, spread, 0.0).sum(dims, keepdim) / (count - less)


def _std(there: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return _var(there, *args, **kwargs).sqrt()


def _var_mean(
    there: Tensor,
    x: Tensor,
    dim: int | Sequence[int] | None = None,
    *,
    correction: float | None = None,
    keepdim: bool = False,
) -> tuple[Tensor, Tensor]:
    variance = _var(there, x, dim, correction=correction, keepdim=keepdim)
    return variance, _mean(there, x, dim, keepdim)


def _std_mean(there: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
    variance, mean = _var_mean(there, *args, **kwargs)
    return variance.sqrt(), mean


def _vector_norm(there: Tensor, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(torch.where(there, x, 0.0), *args, **kwargs)
    return norm


def _layer_norm(
    there: Tensor,
    x: Tensor,
    shape: Sequence[int],
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    dims = list(range(-len(shape), 0))
    mean = _mean(there, x, dims, keepdim=True)
    rstd = (_var(there, x, dims, correction=0, keepdim=True) + eps).rsqrt()
    return _affine((x - mean) * rstd, weight, bias), mean, rstd


def _rms_norm(
    there: Tensor, x: Tensor, shape: Sequence[int], weight: Tensor | None, eps: float | None
) -> tuple[Tensor, Tensor]:
    dims = list(range(-len(shape), 0))
    small = torch.finfo(x.dtype).eps if eps is None else eps
    rstd = (_mean(there, x.square(), dims, keepdim=True) + small).rsqrt()
    return _affine(x * rstd, weight, None), rstd


def _group_norm(
    there: Tensor,
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    n: int,
    channels: int,
    positions: int,
    groups: int,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    grouped, present = x.reshape(n, groups, -1), there.reshape(n, groups, -1)
    mean = _mean(present, grouped, -1, keepdim=True)
    rstd = (_var(present, grouped, -1, correction=0, keepdim=True) + eps).rsqrt()
    flat = ((grouped - mean) * rstd).reshape(n, channels, positions)
    scale, shift = (None if each is None else each[:, None] for each in (weight, bias))
    return _affine(flat, scale, shift).reshape(x.shape), mean[..., 0], rstd[..., 0]


def _batch_norm(
    there: Tensor,
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    variance: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise every channel over what is present of it, or in evaluation by what is known."""
    sizes = [1, -1] + [1] * (x.ndim - 2)
    if training or mean is None or variance is None:
        dims = [0, *range(2, x.ndim)]
        mean, variance = _mean(there, x, dims), _var(there, x, dims, correction=0)
    rstd = (variance + eps).rsqrt()
    scale, shift = (None if each is None else each.view(sizes) for each in (weight, bias))
    return _affine((x - mean.view(sizes)) * rstd.view(sizes), scale, shift), mean, rstd


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


PARTIAL: Mapping[str, Callable[..., Any]] = {
    "mean": _mean,
    "var": _var,
    "std": _std,
    "var_mean": _var_mean,
    "std_mean": _std_mean,
    "linalg_vector_norm": _vector_norm,
    "native_layer_norm": _layer_norm,
    "_fused_rms_norm": _rms_norm,
    "native_group_norm": _group_norm,
    "native_batch_norm": _batch_norm,
}

# The same operator under the name that it has on an accelerator; models are traced as on the CPU.
ALIASES: Mapping[str, str] = {
    "cudnn_batch_norm": "native_batch_norm",
    "miopen_batch_norm": "native_batch_norm",
}


def canonical(name: str) -> str:
    """Return the name under which an operator is in `PARTIAL`, its own if it is not."""
    return ALIASES.get(name, name)

"""Averages and norms over the present entries of tensors, for masked models.

A LayerNorm over masked nodes and one from which these nodes are removed differ: the number of nodes
enters. The smaller model is therefore compared with the masked model in which every average leaves
the absent nodes out.

`there`, in the shape of the input, is True where an entry is present.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def _dims(x: Tensor, dim: int | Sequence[int] | None) -> list[int]:
    if dim is None or dim == []:
        return list(range(x.ndim))
    return [dim] if isinstance(dim, int) else list(dim)


def masked_mean(
    there: Tensor,
    x: Tensor,
    dim: int | Sequence[int] | None = None,
    keepdim: bool = False,
    **_: Any,
) -> Tensor:
    """Return the mean of the present entries."""
    dims = _dims(x, dim)
    # Where nothing is present, the average is not read: any count but zero will do.
    count = there.sum(dims, keepdim).clamp(min=1)
    return torch.where(there, x, 0.0).sum(dims, keepdim) / count


def masked_var(
    there: Tensor,
    x: Tensor,
    dim: int | Sequence[int] | None = None,
    *,
    correction: float | None = None,
    keepdim: bool = False,
) -> Tensor:
    """Return the variance of the present entries."""
    dims, less = _dims(x, dim), 1 if correction is None else correction
    count = there.sum(dims, keepdim).clamp(min=1)
    spread = (x - masked_mean(there, x, dims, keepdim=True)).square()
    return torch.where(there, spread, 0.0).sum(dims, keepdim) / (count - less)


def masked_std(there: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Return the standard deviation of the present entries."""
    return masked_var(there, *args, **kwargs).sqrt()


def masked_var_mean(
    there: Tensor,
    x: Tensor,
    dim: int | Sequence[int] | None = None,
    *,
    correction: float | None = None,
    keepdim: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return variance and mean of the present entries."""
    variance = masked_var(there, x, dim, correction=correction, keepdim=keepdim)
    return variance, masked_mean(there, x, dim, keepdim)


def masked_std_mean(there: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
    """Return standard deviation and mean of the present entries."""
    variance, mean = masked_var_mean(there, *args, **kwargs)
    return variance.sqrt(), mean


def masked_vector_norm(there: Tensor, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Return the norm of the present entries."""
    norm: Tensor = torch.linalg.vector_norm(torch.where(there, x, 0.0), *args, **kwargs)
    return norm


def masked_norm(
    there: Tensor,
    x: Tensor,
    p: float | None = 2,
    dim: Sequence[int] = (),
    keepdim: bool = False,
    **_: Any,
) -> Tensor:
    """Return the norm of the present entries, with the arguments of the older operator."""
    return masked_vector_norm(there, x, 2 if p is None else p, list(dim) or None, keepdim)


def masked_layer_norm(
    there: Tensor,
    x: Tensor,
    shape: Sequence[int],
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise the last axes over their present entries."""
    dims = list(range(-len(shape), 0))
    mean = masked_mean(there, x, dims, keepdim=True)
    rstd = (masked_var(there, x, dims, correction=0, keepdim=True) + eps).rsqrt()
    return _affine((x - mean) * rstd, weight, bias), mean, rstd


def masked_rms_norm(
    there: Tensor, x: Tensor, shape: Sequence[int], weight: Tensor | None, eps: float | None
) -> tuple[Tensor, Tensor]:
    """Divide by the root mean square of the present entries of the last axes."""
    dims = list(range(-len(shape), 0))
    small = torch.finfo(x.dtype).eps if eps is None else eps
    rstd = (masked_mean(there, x.square(), dims, keepdim=True) + small).rsqrt()
    return _affine(x * rstd, weight, None), rstd


def masked_group_norm(
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
    """Normalise every group of channels over the present entries."""
    grouped, present = x.reshape(n, groups, -1), there.reshape(n, groups, -1)
    mean = masked_mean(present, grouped, -1, keepdim=True)
    rstd = (masked_var(present, grouped, -1, correction=0, keepdim=True) + eps).rsqrt()
    flat = ((grouped - mean) * rstd).reshape(n, channels, positions)
    scale, shift = (None if each is None else each[:, None] for each in (weight, bias))
    return _affine(flat, scale, shift).reshape(x.shape), mean[..., 0], rstd[..., 0]


def masked_batch_norm(
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
    """Normalise every channel over present entries, or in evaluation by running statistics."""
    sizes = [1, -1] + [1] * (x.ndim - 2)
    if training or mean is None or variance is None:
        dims = [0, *range(2, x.ndim)]
        mean, variance = masked_mean(there, x, dims), masked_var(there, x, dims, correction=0)
    rstd = (variance + eps).rsqrt()
    scale, shift = (None if each is None else each.view(sizes) for each in (weight, bias))
    return _affine((x - mean.view(sizes)) * rstd.view(sizes), scale, shift), mean, rstd


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    x = x if weight is None else x * weight
    return x if bias is None else x + bias

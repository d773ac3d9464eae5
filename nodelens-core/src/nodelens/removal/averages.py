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
from torch.utils._python_dispatch import TorchDispatchMode

_LOWER = (torch.float32, torch.float16, torch.bfloat16)


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


class OperatorMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operators of a forward, keeps it in float64, leaves absent nodes out of averages.

    `precise` leaves float64 tensors in float64 where the model would cast them down. `averages`
    are all averaging operators in the order in which the forward meets them; `followed` turns False
    where it meets others.
    """

    def __init__(self, precise: bool, averages: Sequence[Average] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.precise = precise
        self.averages = list(averages)
        self.followed = True
        self.operators = 0

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401 - an operator of torch
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Perform one operator."""
        kwargs = dict(kwargs or {})
        self.operators += 1
        name = str(func._schema.name).removeprefix("aten::")
        if self.precise and name == "_to_copy" and _cast_down(args, kwargs):
            kwargs["dtype"] = torch.float64
        if name in PARTIAL and self.averages:
            average = self.averages.pop(0)
            if (average.name, average.shape) != (name, tuple(args[0].shape)):
                self.averages, self.followed = [], False
            elif average.present:
                return PARTIAL[name](average.weights(args[0]), *args, **kwargs)
        return func(*args, **kwargs)


def _cast_down(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    return args[0].dtype == torch.float64 and kwargs.get("dtype") in _LOWER


def _dims(x: Tensor, dim: int | Sequence[int] | None) -> list[int]:
    if dim is None or dim == []:
        return list(range(x.ndim))
    return [dim] if isinstance(dim, int) else list(dim)


def _mean(
    there: Tensor,
    x: Tensor,
    dim: int | Sequence[int] | None = None,
    keepdim: bool = False,
    **_: Any,  # noqa: ANN401 - the data type
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


def _std(there: Tensor, *args: Any, **kwargs: Any) -> Tensor:  # noqa: ANN401
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


def _std_mean(there: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:  # noqa: ANN401
    variance, mean = _var_mean(there, *args, **kwargs)
    return variance.sqrt(), mean


def _vector_norm(there: Tensor, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:  # noqa: ANN401
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
}

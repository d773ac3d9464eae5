"""Averages and norms that keep dividing by the number of nodes that there were.

A LayerNorm over nodes that are zero and one from which these nodes are removed differ in one thing
only: the number that they divide by. With the old number put back, the two must agree exactly,
and that is how the removal of such nodes is proved.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from attrs import frozen
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_LOWER = (torch.float32, torch.float16, torch.bfloat16)


@frozen(eq=False)
class Averaging:
    """An operator that divides by a count: what the count is, and how to run it with another."""

    count: Callable[..., int]
    emulate: Callable[..., Any]


class CountMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operator of a forward: counts them, notes or replays counts, keeps float64.

    Without `replay`, the count of each averaging operator is noted in `counts`; with it, the
    operators divide by the counts noted earlier, in the same order. `precise` leaves float64
    tensors in float64 where the model would cast them down.
    """

    def __init__(self, precise: bool, replay: Sequence[int] | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.precise = precise
        self.replay = replay
        self.counts: list[int] = []
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
        averaging = AVERAGING.get(name)
        if averaging is None or not args[0].is_floating_point():
            return func(*args, **kwargs)
        return self._average(averaging, func, args, kwargs)

    def _average(
        self,
        averaging: Averaging,
        func: Any,  # noqa: ANN401
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:  # noqa: ANN401
        count, position = averaging.count(*args, **kwargs), len(self.counts)
        self.counts.append(count)
        if self.replay is None or position >= len(self.replay) or self.replay[position] == count:
            return func(*args, **kwargs)
        return averaging.emulate(self.replay[position], *args, **kwargs)


def _cast_down(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    return args[0].dtype == torch.float64 and kwargs.get("dtype") in _LOWER


def _dims(x: Tensor, dim: int | Sequence[int] | None) -> list[int]:
    if dim is None or dim == []:
        return list(range(x.ndim))
    return [dim] if isinstance(dim, int) else list(dim)


def _count(x: Tensor, dim: int | Sequence[int] | None = None, *_: Any, **__: Any) -> int:  # noqa: ANN401
    return math.prod(x.shape[each] for each in _dims(x, dim))


def _mean(
    count: int,
    x: Tensor,
    dim: int | Sequence[int] | None = None,
    keepdim: bool = False,
    **_: Any,  # noqa: ANN401 - the data type
) -> Tensor:
    return x.sum(_dims(x, dim), keepdim) / count


def _var(
    count: int,
    x: Tensor,
    dim: int | Sequence[int] | None = None,
    *,
    correction: float | None = None,
    keepdim: bool = False,
) -> Tensor:
    mean = _mean(count, x, dim, keepdim)
    squares = x.square().sum(_dims(x, dim), keepdim)
    return (squares - count * mean.square()) / (count - (1 if correction is None else correction))


def _std(count: int, *args: Any, **kwargs: Any) -> Tensor:  # noqa: ANN401
    return _var(count, *args, **kwargs).sqrt()


def _var_mean(
    count: int,
    x: Tensor,
    dim: int | Sequence[int] | None = None,
    *,
    correction: float | None = None,
    keepdim: bool = False,
) -> tuple[Tensor, Tensor]:
    variance = _var(count, x, dim, correction=correction, keepdim=keepdim)
    return variance, _mean(count, x, dim, keepdim)


def _std_mean(count: int, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:  # noqa: ANN401
    variance, mean = _var_mean(count, *args, **kwargs)
    return variance.sqrt(), mean


def _layer_count(x: Tensor, shape: Sequence[int], *_: Any) -> int:  # noqa: ANN401
    return math.prod(shape)


def _layer_norm(
    count: int,
    x: Tensor,
    shape: Sequence[int],
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    dims = list(range(-len(shape), 0))
    mean = _mean(count, x, dims, keepdim=True)
    rstd = (_var(count, x, dims, correction=0, keepdim=True) + eps).rsqrt()
    return _affine((x - mean) * rstd, weight, bias), mean, rstd


def _rms_norm(
    count: int, x: Tensor, shape: Sequence[int], weight: Tensor | None, eps: float | None
) -> tuple[Tensor, Tensor]:
    dims = list(range(-len(shape), 0))
    small = torch.finfo(x.dtype).eps if eps is None else eps
    rstd = (_mean(count, x.square(), dims, keepdim=True) + small).rsqrt()
    return _affine(x * rstd, weight, None), rstd


def _group_count(x: Tensor, *rest: Any) -> int:  # noqa: ANN401 - see `_group_norm`
    channels, positions, groups = rest[3:6]
    return int(channels // groups * positions)


def _group_norm(
    count: int,
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    n: int,
    channels: int,
    positions: int,
    groups: int,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    grouped = x.reshape(n, groups, -1)
    mean = _mean(count, grouped, -1, keepdim=True)
    rstd = (_var(count, grouped, -1, correction=0, keepdim=True) + eps).rsqrt()
    flat = ((grouped - mean) * rstd).reshape(n, channels, positions)
    scale, shift = (None if each is None else each[:, None] for each in (weight, bias))
    return _affine(flat, scale, shift).reshape(x.shape), mean[..., 0], rstd[..., 0]


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


AVERAGING: Mapping[str, Averaging] = {
    "mean": Averaging(_count, _mean),
    "var": Averaging(_count, _var),
    "std": Averaging(_count, _std),
    "var_mean": Averaging(_count, _var_mean),
    "std_mean": Averaging(_count, _std_mean),
    "native_layer_norm": Averaging(_layer_count, _layer_norm),
    "_fused_rms_norm": Averaging(_layer_count, _rms_norm),
    "native_group_norm": Averaging(_group_count, _group_norm),
}

"""Variables in place of the weights that a model computes, while its forward runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map_only

TOLERANCE = 1e-5
"""Relative difference below which a tensor is taken for the weight of its shape."""
_TRANSPOSED = tuple(getattr(getattr(Tensor, name), "__get__") for name in ("T", "mT"))  # noqa: B009
"""Attributes that hand a tensor on, as functions do."""


class Substitution(TorchFunctionMode):
    """Gives every function a variable in place of the computed weight that has its values.

    A weight is known by its shape and values, wherever it is computed. `met` names the variables
    that some function has read in place of a weight, not from their own memory. Variables with
    equal values cannot be told apart, and are not met.
    """

    def __init__(self, variables: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.met: set[str] = set()
        self._by_shape: dict[torch.Size, dict[str, Tensor]] = {}
        for name, each in variables.items():
            self._by_shape.setdefault(each.shape, {})[name] = each

    def mark_missed(self, values: Mapping[str, Tensor]) -> None:
        """Fill the values of variables that no function has read with NaN: they are not known."""
        variables = {name for each in self._by_shape.values() for name in each}
        for name in variables - self.met:
            values[name].fill_(float("nan"))

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        name = str(getattr(func, "__name__", ""))
        changes = name.endswith("_") or name in ("__get__", "__set__", "__setitem__")
        if (func in _TRANSPOSED or not changes) and self._concerned(tree_leaves((args, kwargs))):
            args, kwargs = tree_map_only(Tensor, self._replaced, (args, kwargs))
        return func(*args, **kwargs)

    def _concerned(self, values: Iterable[Any]) -> bool:
        return any(isinstance(each, Tensor) and each.shape in self._by_shape for each in values)

    def _replaced(self, tensor: Tensor) -> Tensor:
        candidates = self._by_shape.get(tensor.shape, {})
        if any(tensor.data_ptr() == each.data_ptr() for each in candidates.values()):
            return tensor
        found = [name for name, each in candidates.items() if _equal(tensor, each)]
        if len(found) != 1:
            return tensor
        self.met.add(found[0])
        return candidates[found[0]]


def _equal(one: Tensor, other: Tensor) -> bool:
    if one.dtype != other.dtype or one.device != other.device:
        return False
    gap, size = (one.detach() - other.detach()).abs().max(), other.detach().abs().max()
    return bool(gap <= TOLERANCE * size)

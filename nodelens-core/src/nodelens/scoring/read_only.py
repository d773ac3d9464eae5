"""Weights and statistics that a metric may read and not write."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from attrs import fields, has
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from nodelens.capture.checkpoint.spilled_states import StoredStates
from nodelens.errors import PluginError

if TYPE_CHECKING:
    from nodelens.capture.checkpoint.spilled_states import StateMap
    from nodelens.scoring.effective_weights import EffectiveWeights

_ARRAYS: frozenset[Any] = frozenset(getattr(Tensor, name) for name in ("numpy", "__array__"))
"""What shares the memory of a tensor with numpy, whose writes are no operators of torch."""

_SETTERS: frozenset[Any] = frozenset(
    {Tensor.data.__set__, Tensor.requires_grad.__set__, Tensor.requires_grad_}  # type: ignore[attr-defined]
)
"""What changes a tensor and is no operator that is dispatched."""


class _NoOperators(TorchFunctionMode):
    """Makes arrays of what is kept read-only, and refuses to set its data."""

    def __init__(self, kept: ReadOnly) -> None:
        super().__init__()
        self._kept = kept

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func in _SETTERS and self._kept.holds([args[0]]):
            raise _refusal(
                func.__name__ if func is Tensor.requires_grad_ else "setting an attribute"
            )
        found = func(*args, **(kwargs or {}))
        if func in _ARRAYS and self._kept.holds([args[0]]):
            found = found.view()
            found.flags.writeable = False
        return found


class ReadOnly(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Refuses every operator that would write to weights, to states, or to what is shared of them.

    Views of them are known as well; numpy arrays of them are read-only, and their data and
    gradients cannot be set.
    """

    def __init__(
        self, weights: EffectiveWeights, states: StateMap, reduced: Mapping[Any, Any]
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._weights = weights
        self._states = states
        self._reduced = reduced
        self._storages = _storages([*weights.stored.values(), *_in_memory(states)])
        self._others = _NoOperators(self)

    def __enter__(self) -> ReadOnly:
        super().__enter__()  # type: ignore[no-untyped-call]
        self._others.__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *raised: Any) -> None:
        self._others.__exit__(*raised)  # type: ignore[no-untyped-call]
        super().__exit__(*raised)  # type: ignore[no-untyped-call]

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func._schema.is_mutable:
            self._check(func, args, kwargs)
        return func(*args, **kwargs)

    def _check(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Raise `PluginError` where an argument that the operator writes to is to be kept."""
        for place, argument in enumerate(func._schema.arguments):
            if argument.alias_info is None or not argument.alias_info.is_write:
                continue
            given = args[place] if place < len(args) else kwargs.get(argument.name)
            written = given if isinstance(given, list | tuple) else (given,)
            if self.holds(each for each in written if isinstance(each, Tensor)):
                raise _refusal(func._schema.name)

    def holds(self, tensors: Iterable[Tensor]) -> bool:
        """Whether some memory belongs to weights or states, also to those made meanwhile."""
        storages = _storages(tensors)
        later = [*self._weights.known.values(), *_tensors_in(self._reduced)]
        if isinstance(self._states, StoredStates):
            later += self._states.held
        return not (storages.isdisjoint(self._storages) and storages.isdisjoint(_storages(later)))


def _refusal(how: str) -> PluginError:
    return PluginError(
        f"changes weights or statistics in place ({how}); work on a copy: tensor.clone()"
    )


def _tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield the tensors of reductions: values, or fields of values, or in mappings there."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _tensors_in(each)
    elif has(type(value)):
        for field in fields(type(value)):
            yield from _tensors_in(getattr(value, field.name))


def _in_memory(states: StateMap) -> list[Tensor]:
    """Return the tensors of states, those in files if they have been read."""
    if isinstance(states, StoredStates):
        return states.held
    return [
        tensor for place in states.values() for state in place.values() for tensor in state.values()
    ]


def _storages(tensors: Iterable[Tensor]) -> frozenset[int]:
    """Return the identities of the memory of tensors, which all views of a tensor share."""
    plain = (tensor for tensor in tensors if tensor.layout == torch.strided)
    return frozenset(int(tensor.untyped_storage()._cdata) for tensor in plain)

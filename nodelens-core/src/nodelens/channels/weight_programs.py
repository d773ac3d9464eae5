"""Weights that a model computes before it multiplies with them, and how to compute them again.

A forward is recorded operator by operator as far as it reads no data. What computes one weight,
such as a mask times a parameter or a weight norm, is cut out of this record and can be replayed on
the present values of the parameters, without a forward and without a change of the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from attrs import define, field, frozen
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.weak import WeakIdKeyDictionary

from nodelens.errors import NotApplicableError


@frozen
class Slot:
    """The place of one tensor among the arguments of a recorded operator."""

    number: int


@frozen(eq=False)
class Step:
    """One recorded operator: arguments with slots for tensors, slots read, returned, written."""

    function: Any  # torch's OpOverload has no public type
    args: Any
    kwargs: Any
    read: tuple[int, ...]
    returned: tuple[int, ...]
    written: tuple[int, ...]


@define(eq=False)
class Recording:
    """The operators of a forward that read no data, and the tensors that they began with.

    `given` holds the parameter's name, or the tensor itself, of every slot that no step returned.
    """

    steps: list[Step] = field(factory=list)
    given: dict[int, str | Tensor] = field(factory=dict)
    _slots: WeakIdKeyDictionary = field(factory=WeakIdKeyDictionary)
    _alive: list[Any] = field(factory=list)
    _count: int = 0
    _storage: dict[int, int] = field(factory=dict)
    _made: dict[int, int] = field(factory=dict)
    _writes: dict[int, list[int]] = field(factory=dict)

    def name(self, tensor: Tensor, parameter: str) -> int:
        """Record that a tensor is a parameter or buffer; return its slot."""
        slot = self._new(tensor)
        self.given[slot] = parameter
        return slot

    def slot(self, tensor: Tensor) -> int:
        """Return the slot of a tensor; one that is met for the first time is a constant."""
        known: int | None = self._slots.get(tensor)  # type: ignore[no-untyped-call]
        if known is None:
            known = self._new(tensor)
            self.given[known] = tensor
        return known

    def _new(self, tensor: Tensor) -> int:
        self._count += 1
        self._slots[tensor] = self._count
        self._alive.append(storage := tensor.untyped_storage())
        self._storage[self._count] = int(storage._cdata)
        return self._count

    def add(self, function: Any, args: Any, kwargs: Any, outputs: Iterable[Tensor]) -> None:
        """Record an operator that has been performed."""
        args, kwargs = tree_map_only(Tensor, lambda tensor: Slot(self.slot(tensor)), (args, kwargs))
        leaves = tree_leaves((args, kwargs))
        read = tuple(each.number for each in leaves if isinstance(each, Slot))
        written = tuple(
            slot.number
            for argument, slot in zip(function._schema.arguments, args, strict=False)
            if argument.alias_info and argument.alias_info.is_write and isinstance(slot, Slot)
        )
        number, returned = len(self.steps), []
        for output in outputs:
            known: int | None = self._slots.get(output)  # type: ignore[no-untyped-call]
            returned.append(self._new(output) if known is None else known)
            if known is None:
                self._made[returned[-1]] = number
        for slot in written:
            self._writes.setdefault(self._storage[slot], []).append(number)
        self.steps.append(Step(function, args, kwargs, read, tuple(returned), written))

    def program(self, slot: int, end: int) -> WeightProgram:
        """Return what computes the tensor of a slot, as it is before step `end`."""
        wanted, seen, chosen = [slot], set[int](), set[int]()
        while wanted:
            each = wanted.pop()
            if each in seen:
                continue
            seen.add(each)
            made = [self._made[each]] if each in self._made else []
            written = [n for n in self._writes.get(self._storage[each], ()) if n < end]
            for number in {*made, *written} - chosen:
                chosen.add(number)
                wanted.extend((*self.steps[number].read, *self.steps[number].returned))
        steps = tuple(self.steps[number] for number in sorted(chosen))
        return WeightProgram(steps, {n: self.given[n] for n in sorted(seen & {*self.given})}, slot)


@frozen(eq=False)
class WeightProgram:
    """The steps that compute one weight from `given` parameters, buffers and constants."""

    steps: tuple[Step, ...]
    given: Mapping[int, str | Tensor]
    result: int

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the parameters and buffers that the weight is computed from."""
        return tuple(name for name in self.given.values() if isinstance(name, str))

    @property
    def key(self) -> str:
        """A text that is equal for all programs that compute one and the same weight."""
        numbers: dict[int, str] = {}

        def plain(slot: Slot) -> str:
            given = self.given.get(slot.number)
            own = given if isinstance(given, str) else f"constant {id(given)}"
            return numbers.setdefault(slot.number, own if given is not None else f"${len(numbers)}")

        steps = [
            (
                str(step.function),
                tree_map_only(Slot, plain, (step.args, step.kwargs)),
                [plain(Slot(slot)) for slot in step.returned],
            )
            for step in self.steps
        ]
        return f"{steps} {plain(Slot(self.result))}"

    def compute(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """Compute the weight from the present values of the model's parameters and buffers.

        Raises `NotApplicableError` where it is drawn at random, or made of what a trace has not
        seen.
        """
        found = self._begin(parameters)
        device = next(iter(found.values())).device
        with torch.no_grad():
            for step in self.steps:
                if torch.Tag.nondeterministic_seeded in step.function.tags:
                    raise NotApplicableError("the weight is drawn at random in every forward")
                args, kwargs = tree_map_only(
                    Slot, lambda slot: found[slot.number], (step.args, step.kwargs)
                )
                if kwargs.get("device") is not None:
                    kwargs = {**kwargs, "device": device}
                results = tree_leaves(step.function(*args, **kwargs))
                tensors = [each for each in results if isinstance(each, Tensor)]
                found.update(zip(step.returned, tensors, strict=True))
        return found[self.result]

    def _begin(self, parameters: Mapping[str, Tensor]) -> dict[int, Tensor]:
        """Return the tensors that the program begins with, on one device, safe to be written to."""
        named = {n: parameters[name] for n, name in self.given.items() if isinstance(name, str)}
        device = next((tensor.device for tensor in named.values()), torch.device("cpu"))
        writes = any(step.written for step in self.steps)
        found = {}
        for number, given in self.given.items():
            tensor = named[number] if isinstance(given, str) else given
            if isinstance(tensor, FakeTensor):
                raise NotApplicableError("it is not known what the weight is computed from")
            tensor = tensor.detach().to(device)
            found[number] = tensor.clone() if writes else tensor
        return found


@frozen(eq=False)
class ComputedWeight:
    """A weight that a model computes from parameters, and the modules that multiply with it.

    `unknown` says why it has no values without data, if it has none.
    """

    name: str
    program: WeightProgram
    modules: tuple[str, ...]
    unknown: str = ""

    def compute(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """Compute the weight from the present values of the model's parameters and buffers.

        Raises `NotApplicableError` where it depends on data or is drawn at random.
        """
        if self.unknown:
            raise NotApplicableError(self.unknown)
        return self.program.compute(parameters)

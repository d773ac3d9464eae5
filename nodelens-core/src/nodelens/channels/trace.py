"""What a traced forward has shown: tensors with their axes, weights that read and write nodes.

A dispatch mode sees every ATen operator that the forward performs and hands it to its rule; module
hooks note what each module read and returned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from attrs import define, field, frozen
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from nodelens.channels.axes import Expression, Solver

Axes = tuple[Expression, ...]


@define(eq=False)
class Traced:
    """What is known of one tensor: its axes, what it depends on, and its identity.

    `data` is True when the tensor depends on the model's input; `parameters` names the parameters
    and buffers that it depends on where it does not. `value` changes with every in-place write.
    """

    axes: Axes
    data: bool = False
    parameters: frozenset[str] = frozenset()
    value: int = 0


@frozen(eq=False)
class Contraction:
    """A weight that reads nodes along `read` and writes nodes along `written`, inside `module`.

    `value` is the tensor that it reads. `readers` and `writers` are the axes of the parameters,
    ``(name, axis)``, that `read` and `written` come from. `evaluated` is False for what happens in
    training only.
    """

    parameters: frozenset[str]
    read: Axes
    written: Axes
    module: str
    value: int
    readers: frozenset[tuple[str, int]]
    writers: frozenset[tuple[str, int]]
    evaluated: bool = True


@frozen(eq=False)
class Port:
    """A tensor that one call of a module read or returned."""

    module: str
    call: int
    argument: int | str
    axes: Axes
    value: int
    storage: int
    time: int


@define(eq=False)
class Trace:
    """Everything one traced forward has shown."""

    solver: Solver = field(factory=Solver)
    tensors: WeakIdKeyDictionary = field(factory=WeakIdKeyDictionary)
    parameters: dict[str, Traced] = field(factory=dict)
    contractions: list[Contraction] = field(factory=list)
    inputs: list[Port] = field(factory=list)
    outputs: list[Port] = field(factory=list)
    unknown: dict[str, str] = field(factory=dict)
    stack: list[str] = field(factory=list)
    calls: Counter[str] = field(factory=Counter)
    written: dict[int, int] = field(factory=dict)
    storages: list[Any] = field(factory=list)
    filled: set[int] = field(factory=set)
    numbers: dict[tuple[int, int], int] = field(factory=dict)
    picked: dict[int, int] = field(factory=dict)
    used: set[str] = field(factory=set)
    evaluated: bool = True
    clock: int = 0

    def overwritten(self, port: Port) -> bool:
        """Whether the model wrote into the tensor's storage after it was read."""
        return self.written.get(port.storage, 0) > port.time

    def value(self, tensor: Tensor) -> int:
        """Return the number of what the tensor holds now, which in-place writes change."""
        written = self.written.get(tensor.untyped_storage()._cdata, 0)
        known = self.of(tensor).value
        if written <= known:
            return known
        return self.numbers.setdefault((known, written), self.tick())

    def sources(self, value: int) -> Iterator[int]:
        """Yield the value and what its entries were picked from, the last pick first."""
        yield value
        while value in self.picked:
            value = self.picked[value]
            yield value

    def is_data(self, tensor: Tensor) -> bool:
        """Whether the tensor depends on the model's input, be it by a write to its storage."""
        return self.of(tensor).data or tensor.untyped_storage()._cdata in self.filled

    def note_write(self, tensor: Tensor, data: bool) -> None:
        """Note that the tensor's storage was written in place, and whether with data."""
        storage = tensor.untyped_storage()
        self.storages.append(storage)  # kept alive, so that its identity is not given again
        self.written[storage._cdata] = self.tick()
        if data:
            self.filled.add(storage._cdata)

    def begin_training(self) -> None:
        """Expect a second pass, in training: it adds to what is known of axes, not to the sites."""
        self.evaluated = False
        self.calls.clear()
        self.stack.clear()

    @property
    def where(self) -> str:
        """The innermost module that is running, in words."""
        return self.module or "the model"

    @property
    def module(self) -> str:
        """The innermost module that is running, by its path."""
        return self.stack[-1] if self.stack else ""

    def tick(self) -> int:
        """Return a new value number."""
        self.clock += 1
        return self.clock

    def of(self, tensor: Tensor) -> Traced:
        """Return what is known of a tensor; one from outside has axes of a fixed size."""
        known: Traced | None = self.tensors.get(tensor)  # type: ignore[no-untyped-call]
        if known is None:
            reason = f"meets a tensor of fixed size in {self.where}"
            known = self.tensors[tensor] = Traced(
                self.fixed(tensor.shape, reason), value=self.tick()
            )
        return known

    def axes(self, tensor: Tensor) -> Axes:
        """Return the axes of a tensor."""
        return self.of(tensor).axes

    def fixed(self, shape: Sequence[int], reason: str) -> Axes:
        """Return fresh axes that can never change, for that reason."""
        return tuple(self.solver.fresh(int(size), reason) for size in shape)

    def free(self, shape: Sequence[int]) -> Axes:
        """Return fresh axes about which nothing is known."""
        return tuple(self.solver.fresh(int(size)) for size in shape)


@contextmanager
def watching(trace: Trace, model: nn.Module) -> Iterator[None]:
    """Note what every module reads and returns while the context is open."""
    handles = []
    for path, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(_entered(trace, path), with_kwargs=True))
        handles.append(module.register_forward_hook(_left(trace, path), always_call=False))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _entered(trace: Trace, path: str) -> Any:  # noqa: ANN401 - a torch hook
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        call = trace.calls[path]
        trace.stack.append(path)
        named: dict[int | str, Any] = {**dict(enumerate(args)), **kwargs}  # type: ignore[dict-item]
        _enter_as_data(trace, module, named.values())
        trace.inputs.extend(_ports(trace, path, call, named))

    return hook


def _enter_as_data(trace: Trace, module: nn.Module, values: Iterable[Any]) -> None:
    """Treat parameters that a layer reads (learned queries) as the data that they are to it."""
    if not any(parameter.ndim > 1 for parameter in module.parameters(recurse=False)):
        return
    for value in values:
        if isinstance(value, Tensor) and value.is_floating_point() and trace.of(value).parameters:
            trace.of(value).data = True


def _left(trace: Trace, path: str) -> Any:  # noqa: ANN401 - a torch hook
    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:  # noqa: ANN401
        named = dict(enumerate(output)) if isinstance(output, tuple | list) else {0: output}
        trace.outputs.extend(_ports(trace, path, trace.calls[path], named))
        trace.calls[path] += 1
        trace.stack.pop()

    return hook


def _ports(trace: Trace, path: str, call: int, named: Mapping[Any, Any]) -> list[Port]:
    if not trace.evaluated:
        return []
    return [
        Port(path, call, key, trace.axes(value), trace.value(value), _storage(trace, value), now)
        for now in [trace.tick()]
        for key, value in named.items()
        if isinstance(value, Tensor) and trace.is_data(value)
    ]


def _storage(trace: Trace, tensor: Tensor) -> int:
    """Return the identity of the tensor's storage, kept alive so that it is not given again."""
    storage = tensor.untyped_storage()
    trace.storages.append(storage)
    return int(storage._cdata)


class AxisMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operator, performs it, and infers the axes of what it returns."""

    def __init__(
        self, trace: Trace, rules: Mapping[str, Any], stand_ins: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.trace = trace
        self.rules = rules
        self.stand_ins = stand_ins or {}

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401 - an operator of torch
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Perform one operator and infer what comes out."""
        kwargs = kwargs or {}
        strides = args[0].stride() if args and isinstance(args[0], Tensor) else ()
        results = self.stand_ins.get(func._schema.name, func)(*args, **kwargs)
        outputs = [leaf for leaf in tree_leaves(results) if isinstance(leaf, Tensor)]
        if outputs:
            from nodelens.channels.rules.operation import Operation, apply

            apply(self.rules, Operation(self.trace, func, args, kwargs, outputs, strides))
        return results

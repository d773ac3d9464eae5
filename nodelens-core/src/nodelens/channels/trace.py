"""The record of a traced forward: tensors with their axes, weights that read and write nodes.

`axis_mode` intercepts every ATen operator of the forward and calls its rule; module hooks record
the tensors that each module read and returned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen
from torch.utils.weak import WeakIdKeyDictionary

from nodelens.channels.axes import Solver
from nodelens.channels.expressions import Axes, Expression
from nodelens.channels.weight_programs import Recording
from nodelens.interfaces.operator import Operator

if TYPE_CHECKING:
    from torch import Tensor


@frozen(eq=False)
class Root:
    """The tensor whose entries a weight holds: a parameter or buffer, or one computed from them.

    `parameter` is empty for what is computed; `slot` is then its place in the trace's recording.
    `chosen` says that the input decides the entries' values, not only which of them are read.
    """

    slot: int
    axes: Axes
    time: int
    parameter: str = ""
    chosen: bool = False


@define(eq=False)
class Traced:
    """The axes, the dependencies and the identity of one tensor of a traced forward.

    `data` is True when the tensor depends on the model's input; `parameters` names the parameters
    and buffers that it depends on where it does not. `value` changes with every in-place write.
    A tensor that holds entries of parameters, which of them the input decides, is `chosen`: it is
    data and has `parameters`. `moved` are the parameters each of whose entries is still the entry
    of one index of every axis: it was moved, repeated or scaled, never summed with others.
    A tensor that is `counted` holds 0, 1, 2, … along its one axis that is longer than 1. `root` is
    the tensor whose unchanged entries it holds; None for itself. `varied` names the parameter of a
    tensor that would be a weight if the input did not change its entries.
    """

    axes: Axes
    data: bool = False
    parameters: frozenset[str] = frozenset()
    value: int = 0
    chosen: bool = False
    moved: frozenset[str] = frozenset()
    counted: bool = False
    root: Root | None = None
    varied: str = ""


@frozen(eq=False)
class Port:
    """A tensor that one call of a module, or a weight inside the module, read or returned."""

    module: str
    call: int
    argument: int | str
    axes: Axes
    value: int
    storage: int
    time: int


@frozen(eq=False)
class Contraction:
    """A weight that reads nodes along `read` and writes nodes along `written`, inside `module`.

    `operand` is the tensor that the weight reads, `operator` the row of the product.
    `readers` and `writers` are the axes of the parameters, ``(name, axis)``, that `read` and
    `written` come from;
    `moved` are the parameters whose entries are still located (see `Traced`). `evaluated` is False
    for what happens in training only. `root_readers` and `root_writers` are the axes of `root`, the
    tensor whose entries the weight holds, that `read` and `written` come from.
    """

    parameters: frozenset[str]
    read: Axes
    written: Axes
    operand: Port
    readers: frozenset[tuple[str, int]]
    writers: frozenset[tuple[str, int]]
    operator: Operator | None
    root: Root
    root_readers: frozenset[int]
    root_writers: frozenset[int]
    moved: frozenset[str] = frozenset()
    evaluated: bool = True

    @property
    def module(self) -> str:
        """The innermost module that is running."""
        return self.operand.module

    @property
    def value(self) -> int:
        """The value number of the operand."""
        return self.operand.value


@frozen(eq=False)
class VariedWeight:
    """A weight whose entries depend on the input, with the axes that it reads and writes along."""

    parameter: str
    module: str
    axes: Axes
    readers: frozenset[int]
    writers: frozenset[int]


@define(eq=False)
class Use:
    """A tensor without data that meets data in evaluation: its root, the step, the modules."""

    root: Root
    end: int
    modules: dict[str, None] = field(factory=dict)


@define(eq=False)
class Trace:
    """Everything that traced forwards of one model have shown."""

    solver: Solver = field(factory=Solver)
    tensors: WeakIdKeyDictionary = field(factory=WeakIdKeyDictionary)
    parameters: dict[str, Traced] = field(factory=dict)
    recording: Recording = field(factory=Recording)
    uses: dict[int, Use] = field(factory=dict)
    varied: list[VariedWeight] = field(factory=list)
    contractions: list[Contraction] = field(factory=list)
    inputs: list[Port] = field(factory=list)
    outputs: list[Port] = field(factory=list)
    unknown: dict[str, str] = field(factory=dict)
    stack: list[str] = field(factory=list)
    calls: Counter[str] = field(factory=Counter)
    called: Counter[str] = field(factory=Counter)
    written: dict[int, int] = field(factory=dict)
    storages: list[Any] = field(factory=list)
    filled: set[int] = field(factory=set)
    numbers: dict[tuple[int, int], int] = field(factory=dict)
    picked: dict[int, int] = field(factory=dict)
    used: set[str] = field(factory=set)
    buffers: set[str] = field(factory=set)
    lookups: set[int] = field(factory=set)
    homes: dict[int, str] = field(factory=dict)
    origins: dict[Any, Any] = field(factory=dict)
    rows: list[Expression] = field(factory=list)
    mixed: str = ""
    evaluated: bool = True
    real: bool = False
    clock: int = 0

    def overwritten(self, port: Port) -> bool:
        """Whether the model wrote into the storage of a port's tensor after the read."""
        return self.written.get(port.storage, 0) > port.time

    def value(self, tensor: Tensor) -> int:
        """Return the value number of a tensor's present contents; in-place writes change it."""
        written = self.written.get(tensor.untyped_storage()._cdata, 0)
        known = self.of(tensor).value
        if written <= known:
            return known
        return self.numbers.setdefault((known, written), self.tick())

    def sources(self, value: int) -> Iterator[int]:
        """Yield a value number and those that its entries were picked from, the last pick first."""
        yield value
        while value in self.picked:
            value = self.picked[value]
            yield value

    def is_counted(self, tensor: Tensor) -> bool:
        """Whether a tensor still holds 0, 1, 2, … along its one axis that is longer than 1."""
        known = self.of(tensor)
        return known.counted and self.value(tensor) == known.value

    def is_data(self, tensor: Tensor) -> bool:
        """Whether a tensor depends on the model's input, also through writes to its storage."""
        return self.of(tensor).data or tensor.untyped_storage()._cdata in self.filled

    def root(self, tensor: Tensor) -> Root:
        """Return the tensor whose entries a weight holds, itself where it was written in place."""
        known = self.of(tensor)
        written = self.written.get(tensor.untyped_storage()._cdata, 0)
        if known.root is None or known.root.time < written:
            slot = self.recording.slot(tensor)
            known.root = Root(slot, known.axes, self.clock, chosen=known.data)
        return known.root

    def has_samples(self, tensor: Tensor) -> bool:
        """Whether some axis of a tensor runs over the samples of the batch."""
        leaves = [leaf for axis in self.rows for leaf in self.solver.leaves(axis)]
        samples = {leaf.variable.number for leaf in leaves if leaf.variable.size > 1}
        own = (leaf for axis in self.axes(tensor) for leaf in self.solver.leaves(axis))
        return any(leaf.variable.number in samples for leaf in own)

    def note_use(self, tensor: Tensor) -> None:
        """Record that a tensor that depends on parameters alone meets data, and where."""
        root, end = self.root(tensor), len(self.recording.steps)
        self.uses.setdefault(root.slot, Use(root, end)).modules[self.module] = None

    def note_write(self, tensor: Tensor, data: bool) -> None:
        """Record that a tensor's storage was written in place, and whether with data."""
        storage = self.storage(tensor)
        self.written[storage] = self.tick()
        if data:
            self.filled.add(storage)

    def storage(self, tensor: Tensor) -> int:
        """Return the identity of a tensor's storage, kept alive so that no other gets the same."""
        storage = tensor.untyped_storage()
        self.storages.append(storage)
        return int(storage._cdata)

    def operand(self, tensor: Tensor) -> Port:
        """Return the port of a tensor that a weight inside the running module reads."""
        call, now = self.calls[self.module], self.tick()
        value, storage = self.value(tensor), self.storage(tensor)
        return Port(self.module, call, 0, self.axes(tensor), value, storage, now)

    def note_rows(self, axes: Axes) -> None:
        """Record the first axis of an input as samples, if as long as that of the first input."""
        if axes and self.evaluated and (not self.rows or axes[0].size == self.rows[0].size):
            self.rows.append(axes[0])

    def begin_training(self) -> None:
        """Begin a second pass, in training, which adds to the axes and not to the sites."""
        self.evaluated = False
        self.solver.phase = " (in training)"
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
        """Return the record of a tensor; a tensor from outside has axes of a fixed size."""
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
        """Return fresh axes that are frozen for a reason."""
        return tuple(self.solver.fresh(int(size), reason) for size in shape)

    def free(self, shape: Sequence[int]) -> Axes:
        """Return fresh axes about which nothing is known."""
        return tuple(self.solver.fresh(int(size)) for size in shape)

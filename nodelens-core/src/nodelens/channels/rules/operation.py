"""One call of an operator: the argument of every rule of channel inference.

A rule takes an `Operation`, relates the axes of its inputs through ``op.unify``, and returns the
axes of each tensor returned. Rules are grouped by family in `structure`, `selection`,
`arithmetic`, `products`, `layers` and `positions`, where each operator has one row. An operator
without a row freezes everything that it touches.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen
from torch import Tensor
from torch.utils._pytree import tree_leaves

from nodelens.channels.trace import Contraction, Trace, Traced, VariedWeight
from nodelens.interfaces.operator import Operator, registered_name

if TYPE_CHECKING:
    from nodelens.channels.expressions import Axes, Expression


@frozen(eq=False)
class Operation:
    """One operator call: the trace, the arguments, and the tensors returned.

    `strides` are those of the first argument before the call; `operator` is the operator's row.
    """

    trace: Trace
    function: Any  # torch's OpOverload has no public type
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    outputs: Sequence[Tensor]
    strides: tuple[int, ...] = ()
    operator: Operator | None = None

    @property
    def name(self) -> str:
        """The operator without namespace, overload, or the underscore of in-place variants."""
        return registered_name(self.function).rstrip("_")

    @property
    def output(self) -> Tensor:
        """The first tensor returned."""
        return self.outputs[0]

    def tensors(self) -> Iterator[Tensor]:
        """Yield every tensor among the arguments."""
        for leaf in tree_leaves((self.args, dict(self.kwargs))):
            if isinstance(leaf, Tensor):
                yield leaf

    def argument(self, position: int, name: str, default: Any = None) -> Any:
        """Return an argument given by position or by name."""
        return self.args[position] if position < len(self.args) else self.kwargs.get(name, default)

    def axes(self, tensor: Tensor) -> Axes:
        """Return the axes of a tensor."""
        return self.trace.axes(tensor)

    def unify(self, left: Expression, right: Expression) -> None:
        """Unify two axes."""
        self.trace.solver.unify(left, right)

    def freeze(self, axes: Iterable[Expression], doing: str) -> None:
        """Freeze axes; the reason names operation and module, such as ``softmax in head``."""
        for axis in axes:
            self.trace.solver.freeze(axis, f"{doing} in {self.trace.where}")

    def split(self, axis: Expression, at: int) -> tuple[Expression, Expression]:
        """Split an axis in two, and record where: a number in the code may not follow a removal.

        Torch's recurrent cells alone split without a check (``unsafe_chunk``), one part per gate.
        """
        parts = self.trace.solver.split(axis, at)
        for part in () if self.name.startswith("unsafe") else parts:
            for leaf in self.trace.solver.leaves(part):
                place = f"split at index {at} of {axis.size} by {self.name} in {self.trace.where}"
                leaf.variable.split_at = leaf.variable.split_at or place
        return parts

    def mixes(self, axes: Iterable[Expression], doing: str) -> None:
        """Record that indices along the axes are mixed, which matters where these are samples."""
        trace = self.trace
        samples = {leaf.variable for axis in trace.rows for leaf in trace.solver.leaves(axis)}
        mixed = {leaf.variable for axis in axes for leaf in trace.solver.leaves(axis)}
        if trace.evaluated and any(each.size > 1 for each in samples & mixed):
            trace.mixed = trace.mixed or f"{doing} in {trace.where}"

    def sums(self, left: Tensor, right: Tensor, axes: Iterable[Expression]) -> None:
        """Record that a product of two tensors is summed over `axes`.

        Between two activations, no weight reads the nodes: they are frozen. Between two parameters,
        the number of nodes enters a weight. Between one and the other, the weight reads them.
        """
        data = self.trace.is_data(left), self.trace.is_data(right)
        axes = list(axes)
        self.mixes(axes, "summed over in a product")
        if all(data) and self.is_weight(left) != self.is_weight(right):
            return
        if all(data):
            self.freeze(axes, "summed over in a product of activations (as of queries and keys)")
        elif not any(data) and self.is_weight(left) and self.is_weight(right):
            for axis in axes:
                self.trace.solver.normalise(axis)

    def positions(self, shape: Sequence[int]) -> Axes:
        """Return fresh axes of positions, which no pruning changes."""
        return self.trace.fixed(shape, "positions")

    def is_weight(self, tensor: Tensor) -> bool:
        """Whether all entries of a tensor come from parameters; the input may choose which."""
        known = self.trace.of(tensor)
        return bool(known.parameters) and (known.chosen or not self.trace.is_data(tensor))

    def contracts(self, data: Tensor, weight: Tensor, read: Axes, written: Axes) -> None:
        """Record that `weight` reads and writes nodes, if it depends on parameters alone.

        To be called before the axes of the weight are unified with those of the data. A parameter's
        entries that the input chooses are a weight to data, and data to a weight.
        """
        chosen = self.trace.of(data).chosen
        if self.trace.of(weight).varied and not self.trace.of(data).varied:
            self._note_varied(weight, read, written)
        if not self.is_weight(weight) or not self.trace.is_data(data):
            return
        if chosen:
            self.looks_up(data)
            if self.trace.of(weight).chosen:
                return
        self._record(data, weight, read, written)

    def _note_varied(self, weight: Tensor, read: Axes, written: Axes) -> None:
        trace, axes = self.trace, self.axes(weight)
        places = [("", position, axis) for position, axis in enumerate(axes)]
        readers, writers = (
            frozenset(position for _, position in self._origins(places, each))
            for each in (read, written)
        )
        name = trace.of(weight).varied
        trace.varied.append(VariedWeight(name, trace.module, axes, readers, writers))

    def looks_up(self, chosen: Tensor) -> None:
        """Record that entries of a parameter are used as data, as if it wrote all of its axes."""
        known = self.trace.of(chosen)
        if known.value not in self.trace.lookups:
            self.trace.lookups.add(known.value)
            places = self._places(known.parameters)
            written = [axis for axis in known.axes if self._origins(places, (axis,))]
            home = self.trace.homes.get(known.value, self.trace.module)
            self._record(chosen, chosen, (), tuple(written), home)

    def _record(
        self, data: Tensor, weight: Tensor, read: Axes, written: Axes, module: str | None = None
    ) -> None:
        """Record a contraction; a repeated use of a weight has the origins of the first use.

        Where a square weight has read what it writes, its two axes cannot be distinguished.
        """
        trace, known = self.trace, self.trace.of(weight)
        places = tuple(n for n, each in enumerate(self.args) if each is data or each is weight)
        layout = (known.parameters, self.name, trace.module, weight.shape, weight.stride())
        root = trace.root(weight)
        own = [("", position, axis) for position, axis in enumerate(root.axes)]
        both = (self._places(known.parameters), own)
        readers, writers, root_readers, root_writers = trace.origins.setdefault(
            (*layout, places, self.args[places[0]] is data, len(read)),
            [self._origins(each, axes) for each in both for axes in (read, written)],
        )
        operand = trace.operand(data)
        record = Contraction(
            known.parameters,
            read,
            written,
            operand if module is None else evolve(operand, module=module),
            readers=readers,
            writers=writers,
            operator=self.operator,
            root=root,
            root_readers=frozenset(axis for _, axis in root_readers),
            root_writers=frozenset(axis for _, axis in root_writers),
            moved=known.moved,
            evaluated=trace.evaluated,
        )
        trace.contractions.append(record)

    def _places(self, parameters: frozenset[str]) -> list[tuple[str, int, Expression]]:
        """Return every axis of the parameters, with its name and position."""
        return [
            (name, position, own)
            for name in parameters
            for position, own in enumerate(self.trace.parameters[name].axes)
        ]

    def _origins(
        self, places: Sequence[tuple[str, int, Expression]], axes: Axes
    ) -> frozenset[tuple[str, int]]:
        """Return which axes of parameters, or of a root, the given axes of a weight come from.

        An axis that was not regrouped is the parameter's own; others are found by their variables.
        """
        found: set[tuple[str, int]] = set()
        for axis in axes:
            exact = {(name, position) for name, position, own in places if own is axis}
            found |= exact or {
                (name, position) for name, position, own in places if self._shared(axis, own)
            }
        return frozenset(found)

    def _shared(self, one: Expression, other: Expression) -> bool:
        wanted, found = (
            {leaf.variable.number for leaf in self.trace.solver.leaves(each)}
            for each in (one, other)
        )
        return not wanted.isdisjoint(found)


def constant(op: Operation) -> Sequence[Axes]:
    """Return axes of a fixed size for a tensor that the model makes of no other tensor."""
    reason = f"meets a tensor of fixed size made in {op.trace.where}"
    return [op.trace.fixed(tensor.shape, reason) for tensor in op.outputs]


def unknown(op: Operation, inputs: Sequence[Traced]) -> Sequence[Axes]:
    """Freeze all axes that an operator without a rule touches, and list the operator."""
    reason = f"unknown operator {op.function} in {op.trace.where}"
    if any(known.data or known.parameters for known in inputs):
        op.trace.unknown.setdefault(str(op.function), op.trace.module)
    for known in inputs:
        for axis in known.axes:
            op.trace.solver.freeze(axis, reason)
    return [op.trace.fixed(tensor.shape, reason) for tensor in op.outputs]

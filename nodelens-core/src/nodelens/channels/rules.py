"""One small rule per family of ATen operators: how the axes of the result follow from the inputs.

A rule takes an `Operation`, relates the axes of its inputs through ``op.unify``, and returns the
axes of each tensor that comes out. Rules are grouped by family in `structure`, `arithmetic` and
`layers`. An operator without a rule freezes everything that it touches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from attrs import frozen
from torch import Tensor
from torch.utils._pytree import tree_leaves

from nodelens.channels.axes import Expression
from nodelens.channels.trace import Axes, Contraction, Trace, Traced


@frozen(eq=False)
class Operation:
    """One operator call: its trace, its arguments, and the fake tensors that it returned."""

    trace: Trace
    function: Any  # torch's OpOverload has no public type
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    outputs: Sequence[Tensor]

    @property
    def name(self) -> str:
        """The operator without namespace, overload, or the underscore of in-place variants."""
        return str(self.function._schema.name).removeprefix("aten::").rstrip("_")

    @property
    def output(self) -> Tensor:
        """The first tensor returned."""
        return self.outputs[0]

    def tensors(self) -> Iterator[Tensor]:
        """Yield every tensor among the arguments."""
        for leaf in tree_leaves((self.args, dict(self.kwargs))):
            if isinstance(leaf, Tensor):
                yield leaf

    def argument(self, position: int, name: str, default: Any = None) -> Any:  # noqa: ANN401
        """Return an argument given by position or by name."""
        return self.args[position] if position < len(self.args) else self.kwargs.get(name, default)

    def axes(self, tensor: Tensor) -> Axes:
        """Return the axes of a tensor."""
        return self.trace.axes(tensor)

    def unify(self, left: Expression, right: Expression) -> None:
        """Make two axes one."""
        self.trace.solver.unify(left, right)

    def positions(self, shape: Sequence[int]) -> Axes:
        """Return fresh axes of positions, which no pruning changes."""
        return self.trace.fixed(shape, "positions")

    def contracts(self, data: Tensor, weight: Tensor, read: Axes, written: Axes) -> None:
        """Record that a weight reads and writes nodes, if it is one (not data itself)."""
        known, of_data = self.trace.of(weight), self.trace.of(data)
        if known.data or not of_data.data or not known.parameters:
            return
        record = Contraction(known.parameters, read, written, self.trace.module, of_data.value)
        self.trace.contractions.append(record)


Rule = Callable[[Operation], Sequence[Axes]]


def apply(rules: Mapping[str, Rule], op: Operation) -> None:
    """Infer the axes of what `op` returned and remember them."""
    inputs = [op.trace.of(tensor) for tensor in op.tensors()]
    data = any(known.data for known in inputs)
    parameters = frozenset[str]() if data else frozenset().union(*(k.parameters for k in inputs))
    rule = rules.get(op.name) or _by_tag(op)
    results = rule(op) if rule and inputs else unknown(op, inputs)
    value = _value(op, inputs)
    for position, tensor in enumerate(op.outputs):
        axes = results[position] if position < len(results) else op.positions(tensor.shape)
        op.trace.tensors[tensor] = Traced(axes, data, parameters, value)
    _note_writes(op, value)


VIEWS = frozenset(
    [
        "view",
        "_unsafe_view",
        "_reshape_alias",
        "unsqueeze",
        "squeeze",
        "t",
        "transpose",
        "permute",
        "alias",
        "detach",
        "expand",
    ]
)


def _value(op: Operation, inputs: Sequence[Traced]) -> int:
    """Return the value number: that of the input for views of the whole tensor, else a new one."""
    return inputs[0].value if op.name in VIEWS and inputs else op.trace.tick()


def _note_writes(op: Operation, value: int) -> None:
    """Remember when a storage was last written in place, and that the tensor is a new value."""
    for argument, tensor in zip(op.function._schema.arguments, op.args, strict=False):
        if argument.alias_info and argument.alias_info.is_write and isinstance(tensor, Tensor):
            known = op.trace.of(tensor)
            op.trace.tensors[tensor] = Traced(known.axes, known.data, known.parameters, value)
            op.trace.written[tensor.untyped_storage()._cdata] = op.trace.tick()


def _by_tag(op: Operation) -> Rule | None:
    from nodelens.channels.arithmetic import pointwise

    return pointwise if torch.Tag.pointwise in op.function.tags else None


def unknown(op: Operation, inputs: Sequence[Traced]) -> Sequence[Axes]:
    """Freeze everything that an operator without a rule touches, and say so."""
    reason = f"unknown operator {op.function} in {op.trace.module or 'the model'}"
    if any(known.data or known.parameters for known in inputs):
        op.trace.unknown.setdefault(str(op.function), op.trace.module)
    for known in inputs:
        for axis in known.axes:
            op.trace.solver.freeze(axis, reason)
    return [op.trace.fixed(tensor.shape, reason) for tensor in op.outputs]

"""Residual blocks and layers: modules that read and return the nodes of one group."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from torch import nn
from torch.nn.modules.conv import _ConvNd

from nodelens.channels.expressions import Variable
from nodelens.channels.groups import Block

if TYPE_CHECKING:
    from nodelens.channels.trace import Port, Trace

_LAYERS = (nn.Linear, _ConvNd, nn.Embedding, nn.Bilinear)


class _Candidate(NamedTuple):
    """A module that may be a block: the value numbers read and returned, list and class."""

    block: Block
    read: tuple[int, str, type]
    returned: tuple[int, str, type]


def blocks_of(model: nn.Module, trace: Trace, names: Mapping[int, str]) -> tuple[Block, ...]:
    """Return the outermost blocks in the order of the forward; `names` are groups by variable.

    A module that only chains blocks of one class from one list, each reading what the last one
    returned (a stage, an encoder), is no block itself, nor is the model.
    """
    inputs, outputs = _first(trace.inputs), _first(trace.outputs)
    ends = _ends(trace)
    found = {
        path: _Candidate(
            Block(path, names[number], axis),
            (inputs[path].value, *_family(model, path)),
            (outputs[path].value, *_family(model, path)),
        )
        for path in inputs
        if path and path in outputs and _is_compound(model.get_submodule(path))
        for axis, number in _common(trace, inputs[path], outputs[path])
        if number in names and _transforms(path, ends.get(number, ()))
    }
    chosen: list[Block] = []
    for path in sorted(found, key=lambda path: path.count(".")):
        inside = [found[other] for other in found if _within(other, path)]
        held = any(_within(path, block.module) for block in chosen)
        if not held and not _chains(inside):
            chosen.append(found[path].block)
    order = list(inputs)
    return tuple(sorted(chosen, key=lambda block: order.index(block.module)))


def _family(model: nn.Module, path: str) -> tuple[str, type]:
    """Return the path of the list that a module is in, and the module's class."""
    return path.rpartition(".")[0], type(model.get_submodule(path))


def _first(ports: Iterable[Port]) -> dict[str, Port]:
    """Return the first tensor of the first call of every module."""
    found: dict[str, Port] = {}
    for port in ports:
        found.setdefault(port.module, port)
    return found


def _is_compound(module: nn.Module) -> bool:
    children = [name for name, _ in module.named_children() if name != "parametrizations"]
    return bool(children) and not isinstance(module, _LAYERS)


def _ends(trace: Trace) -> dict[int, list[tuple[str, str]]]:
    """Return the weights that read or write each variable, with their modules, by variable."""
    found: dict[int, list[tuple[str, str]]] = {}
    for contraction in trace.contractions:
        for what, axes in (("read", contraction.read), ("written", contraction.written)):
            for leaf in (leaf for axis in axes for leaf in trace.solver.leaves(axis)):
                found.setdefault(leaf.variable.number, []).append((what, contraction.module))
    return found


def _transforms(path: str, ends: Iterable[tuple[str, str]]) -> bool:
    """Whether a weight inside the module reads the nodes and one writes them."""
    inside = {what for what, module in ends if module == path or _within(module, path)}
    return len(inside) == 2


def _within(path: str, outer: str) -> bool:
    return path != outer and (not outer or path.startswith(f"{outer}."))


def _common(trace: Trace, one: Port, other: Port) -> Iterator[tuple[int, int]]:
    """Yield the axes on which both tensors have one variable, with the variable's number."""
    for position, (left, right) in enumerate(zip(one.axes, other.axes, strict=False)):
        a, b = trace.solver.resolve(left), trace.solver.resolve(right)
        if a is b and isinstance(a, Variable):
            yield position, a.number


def _chains(candidates: Iterable[_Candidate]) -> bool:
    known = list(candidates)
    returned = {each.returned for each in known}
    return any(each.read in returned and each.read != each.returned for each in known)

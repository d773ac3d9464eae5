"""A small synthetic layer with known data, weights and gradients, to check metrics on.

``y = Wx + b``, ``a = relu(y)``, and a linear readout ``z = Va`` whose loss ½‖z − t‖² is summed over
rows and positions, so that dL/da = Vᵀ(z − t) is exact. Rows have class labels, on which x depends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from attrs import evolve, field, frozen
from torch import Tensor

from nodelens.channels.groups import Block, ChannelGraph, ChannelGroup, Extent, ParameterSlice, Site
from nodelens.interfaces.statistic import (
    AnyStatistic,
    Layout,
    PassStatistic,
    Reading,
    State,
    Statistic,
)
from nodelens.scoring.view import GroupView, Network
from nodelens.seeding import generator

CLASSES = 3
WHOLE = (slice(None),)
"""All rows in one batch."""
FOLDS = 4
States = Mapping[Any, State]
_AT_MODULE = ("input", "weight")
_BY_NAME = (*_AT_MODULE, "block")
_NODES = ("activation", "preactivation")


@frozen(eq=False)
class World:
    """One layer on one data set, all float64.

    `inputs` is ``(rows, positions, inputs)``; `pre`, `activation` and `gradient` are ``(rows,
    positions, nodes)``, `targets`, `fold` and `index` ``(rows,)``, `valid` ``(rows, positions)`` or
    None, `incoming` ``(nodes, inputs)``, `outgoing` ``(outputs, nodes)``. `scale`, ``(nodes,)``, is
    that of a normalisation of the nodes, None where there is none. `slope`, ``(nodes,)``, is da/dy
    where a node is on; None is 1. `gate`, ``(nodes, inputs)``, are the weights of a second producer
    that reads the same inputs, None where there is one producer. `read` holds the states of
    statistics that have read all rows, for the next metric.
    """

    inputs: Tensor
    pre: Tensor
    activation: Tensor
    gradient: Tensor
    targets: Tensor
    fold: Tensor
    index: Tensor
    incoming: Tensor
    outgoing: Tensor
    valid: Tensor | None = None
    scale: Tensor | None = None
    slope: Tensor | None = None
    gate: Tensor | None = None
    read: dict[Any, State] = field(factory=dict, init=False)

    @property
    def rows(self) -> int:
        """The number of rows."""
        return len(self.fold)

    @property
    def nodes(self) -> int:
        """The number of nodes."""
        return len(self.incoming)


@cache
def make_world(
    seed: int = 0, *, rows: int = 36, positions: int = 6, nodes: int = 7, inputs: int = 6
) -> World:
    """Return a world in which every node varies and no two nodes are alike; made once."""
    random = generator(seed, "testing", "world")

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    targets = torch.arange(rows) % CLASSES
    x = normal(rows, positions, inputs) + normal(CLASSES, inputs)[targets].unsqueeze(1)
    incoming, outgoing = normal(nodes, inputs), normal(4, nodes)
    pre = x @ incoming.T + 0.3 * normal(nodes)
    world = World(
        inputs=x,
        pre=pre,
        activation=pre.relu(),
        gradient=torch.zeros_like(pre),
        targets=targets,
        fold=torch.arange(rows) // 2 % FOLDS,
        index=torch.arange(rows),
        incoming=incoming,
        outgoing=outgoing,
        scale=torch.linspace(-1.0, 2.0, nodes, dtype=torch.float64).roll(nodes // 2),
    )
    return with_loss(world, normal(rows, positions, 4))


def with_loss(world: World, wanted: Tensor) -> World:
    """Return the world with the gradient of ½‖Va − t‖², t ``(rows, positions, outputs)``."""
    residual = world.activation @ world.outgoing.T - wanted
    return evolve(world, gradient=residual @ world.outgoing)


def reading(world: World, tap: str, rows: Tensor | slice = slice(None)) -> Reading:
    """Return what a site reads of some rows; the gradient of the pre-activation is that of ReLU.

    A pair's second tensor is the readout, a block's the activation and half the pre-activation; the
    numbers about the output are made from the readout's rows. The positions of nodes are a grid of
    three columns where they fill it.
    """
    readout = world.activation.double() @ world.outgoing.T
    slope = torch.ones_like(world.pre[0, 0]) if world.slope is None else world.slope
    written = world.gradient * (world.pre > 0) * slope.to(world.gradient)
    at = {"preactivation": world.pre, "input": world.inputs, "weight": world.inputs}
    values = at.get(tap, world.activation)
    partner = {"pair": readout, "block": world.activation + 0.5 * world.pre}.get(tap)
    gradient = written if tap in ("preactivation", *_AT_MODULE) else world.gradient
    positions = values.shape[1]
    return Reading(
        values=values[rows].clone(),
        fold=world.fold[rows].clone(),
        gradient=None if tap == "input" else gradient[rows].clone(),
        valid=None if world.valid is None else world.valid[rows].clone(),
        targets=world.targets[rows].clone(),
        index=world.index[rows].clone(),
        outputs=_outputs(world, readout)[rows].clone(),
        partner=None if partner is None else partner[rows].clone(),
        grid=(positions // 3, 3) if tap in _NODES and positions % 3 == 0 else (),
    )


def _outputs(world: World, readout: Tensor) -> Tensor:
    """Return three numbers per row that depend on its valid positions, ``(rows, 1, 3)``."""
    valid = torch.ones_like(readout[..., 0]) if world.valid is None else world.valid.double()
    columns = [number % readout.shape[-1] for number in range(3)]
    total = (readout[..., columns].double() * valid.unsqueeze(-1)).sum(1, keepdim=True)
    return total / valid.sum(1).clamp(min=1.0)[:, None, None]


def group_of(world: World) -> ChannelGroup:
    """Return the channel group of the layer: a linear producer, its bias, a linear consumer.

    And the scale of a normalisation and a second producer, where the world has them.
    """
    extent = Extent(world.nodes)
    gate = () if world.gate is None else (ParameterSlice("gate.weight", 0, "producer", extent),)
    scaled = () if world.scale is None else (ParameterSlice("norm.weight", 0, "carrier", extent),)
    return ChannelGroup(
        name="layer:nodes",
        kind="nodes",
        width=world.nodes,
        slices=(
            ParameterSlice("layer.weight", 0, "producer", extent),
            *gate,
            ParameterSlice("layer.bias", 0, "carrier", extent),
            *scaled,
            ParameterSlice("readout.weight", 1, "consumer", extent),
        ),
        sites=(
            Site("layer", "output", "preactivation", 2, extent, value=1),
            Site("readout", "input", "activation", 2, extent, value=2),
        ),
    )


def next_group(world: World) -> ChannelGroup:
    """Return the group of the readout: what the layer's consumer writes, read by nothing here."""
    extent = Extent(len(world.outgoing))
    site = Site("end", "input", "activation", 2, extent, value=3)
    return ChannelGroup("readout:nodes", "nodes", extent.width, sites=(site,), frozen="output")


def _of_readout(world: World, states: States) -> States:
    """Return the states of the layer's statistics of samples, at the readout."""
    z = world.activation.double() @ world.outgoing.T
    below = evolve(
        world,
        pre=z,
        activation=z,
        gradient=torch.zeros_like(z),
        incoming=world.outgoing,
        outgoing=torch.eye(z.shape[-1], dtype=torch.float64),
        slope=None,
    )
    return {
        statistic: accumulate(statistic, below)
        for statistic in states
        if type(statistic).__name__ == "Reservoir"
    }


def parameters_of(world: World) -> dict[str, Tensor]:
    """Return the parameters that the group's slices name."""
    scale = {} if world.scale is None else {"norm.weight": world.scale.clone()}
    gate = {} if world.gate is None else {"gate.weight": world.gate.clone()}
    return {
        **scale,
        **gate,
        "layer.weight": world.incoming.clone(),
        "layer.bias": torch.zeros(world.nodes, dtype=torch.float64),
        "readout.weight": world.outgoing.clone(),
    }


def layout_of(world: World, tap: str = "activation") -> Layout:
    """Return the layout of the world's statistics at one place."""
    classes = max(CLASSES, int(world.targets.max()) + 1)
    inputs, outputs = world.incoming.shape[1], len(world.outgoing)
    width = inputs if tap in ("input", "weight") else world.nodes
    others = {"weight": world.nodes, "block": world.nodes, "pair": outputs}.get(tap, 0)
    return Layout(width=width, folds=FOLDS, classes=classes, others=others)


def reading_for(
    statistic: Statistic[object], world: World, rows: Tensor | slice = slice(None)
) -> Reading:
    """Return what a statistic reads; with drawn labels every second row's gradient is doubled."""
    if "sampled_gradient" in statistic.requires:
        factors = (1.0 + world.index % 2).to(world.gradient)
        world = evolve(world, gradient=world.gradient * factors[:, None, None])
    return reading(world, statistic.reads, rows)


def accumulate(
    statistic: AnyStatistic[object],
    world: World,
    batches: Iterable[Tensor | slice] = (slice(None),),
    earlier: States | None = None,
) -> State:
    """Return the state after reading the batches one after the other.

    A statistic with passes of its own visits them; `earlier` are the states of those before it,
    over all rows where they are not given.
    """
    state = statistic.start(layout_of(world, statistic.reads))
    if isinstance(statistic, PassStatistic):
        from nodelens.testing.world_model import visited

        before = {s: accumulate(s, world) for s in getattr(statistic, "after", ())}
        return visited(statistic, world, state, batches, before | dict(earlier or {}))
    for rows in batches:
        statistic.update(state, reading_for(statistic, world, rows))
    return state


def view_of(
    world: World,
    statistics: Sequence[AnyStatistic[object]],
    batches: Sequence[Tensor | slice] = WHOLE,
) -> GroupView:
    """Return what a metric sees that declared these statistics and nothing else."""
    states: dict[Any, State] = {}
    for each in statistics:
        if batches is WHOLE:
            states[each] = _whole(each, world)
        else:
            states[each] = accumulate(each, world, batches, states)
    return view_with(world, states)


def _whole(statistic: AnyStatistic[object], world: World) -> State:
    """Return a copy of the state after reading all rows at once, which is done once."""
    if statistic not in world.read:
        world.read[statistic] = accumulate(statistic, world)
    return {name: value.clone() for name, value in world.read[statistic].items()}


def _at_readout(world: World, states: States) -> dict[Any, State]:
    """Return the states of the readout's weight, for the statistics that are read there."""
    from nodelens.testing.world_model import residual

    gradient = residual(world).to(world.activation)
    there = evolve(
        world,
        inputs=world.activation,
        pre=torch.ones_like(gradient),
        activation=gradient,
        gradient=gradient,
        incoming=world.outgoing,
        outgoing=torch.eye(len(world.outgoing), dtype=torch.float64),
        slope=None,
    )
    return {each: accumulate(each, there) for each in states if each.reads == "weight"}


def view_with(world: World, states: States) -> GroupView:
    """Return what a metric sees of finished states."""
    keep = torch.ones(FOLDS, dtype=torch.bool)
    group, following = group_of(world), next_group(world)
    places = {
        f"layer ({place})": {s: state for s, state in states.items() if s.reads == place}
        for place in _BY_NAME
    }
    places["readout (weight)"] = _at_readout(world, states)
    network = Network(
        graph=ChannelGraph((group, following), blocks=(Block("layer", group.name, 2),)),
        states={group.name: states, following.name: _of_readout(world, states), **places},
        input_of={**{name: name for name in places}, "gate (input)": "layer (input)"},
    )
    return GroupView(group, states, parameters_of(world), keep, network)

"""A small synthetic layer with known data, weights and gradients, to check metrics on.

``y = Wx + b``, ``a = relu(y)``, and a linear readout ``z = Va`` whose loss ½‖z − t‖² is summed over
rows and positions, so that dL/da = Vᵀ(z − t) is exact. Rows have class labels, on which x depends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from attrs import evolve, frozen
from torch import Tensor

from nodelens.channels.groups import ChannelGraph, ChannelGroup, Extent, ParameterSlice, Site
from nodelens.scoring.view import GroupView, Network
from nodelens.seeding import generator
from nodelens.statistics.contract import Layout, Reading, State, Statistic

CLASSES = 3
FOLDS = 4
_AT_MODULE = ("input", "weight")


@frozen(eq=False)
class World:
    """One layer on one data set, all float64.

    `inputs` is ``(rows, positions, inputs)``; `pre`, `activation` and `gradient` are ``(rows,
    positions, nodes)``, `targets`, `fold` and `index` ``(rows,)``, `valid` ``(rows, positions)`` or
    None, `incoming` ``(nodes, inputs)``, `outgoing` ``(outputs, nodes)``.
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

    @property
    def rows(self) -> int:
        """The number of rows."""
        return len(self.fold)

    @property
    def nodes(self) -> int:
        """The number of nodes."""
        return len(self.incoming)


def make_world(
    seed: int = 0, *, rows: int = 36, positions: int = 5, nodes: int = 7, inputs: int = 6
) -> World:
    """Return a world in which every node varies and no two nodes are alike."""
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
    )
    return with_loss(world, normal(rows, positions, 4))


def with_loss(world: World, wanted: Tensor) -> World:
    """Return the world with the gradient of ½‖Va − t‖², t ``(rows, positions, outputs)``."""
    residual = world.activation @ world.outgoing.T - wanted
    return evolve(world, gradient=residual @ world.outgoing)


def reading(world: World, tap: str, rows: Tensor | slice = slice(None)) -> Reading:
    """Return what a site reads of some rows; the gradient of the pre-activation is that of ReLU.

    A pair's second tensor is the readout; the numbers about the output are made from its rows.
    """
    readout = world.activation.double() @ world.outgoing.T
    written = world.gradient * (world.pre > 0)
    at = {"activation": world.activation, "preactivation": world.pre, "pair": world.activation}
    values = at.get(tap, world.inputs)
    gradient = world.gradient if tap in ("activation", "pair") else written
    return Reading(
        values=values[rows].clone(),
        fold=world.fold[rows].clone(),
        gradient=None if tap == "input" else gradient[rows].clone(),
        valid=None if world.valid is None else world.valid[rows].clone(),
        targets=world.targets[rows].clone(),
        index=world.index[rows].clone(),
        outputs=_outputs(world, readout)[rows].clone(),
        partner=readout[rows].clone() if tap == "pair" else None,
    )


def _outputs(world: World, readout: Tensor) -> Tensor:
    """Return three numbers per row that depend on its valid positions, ``(rows, 1, 3)``."""
    valid = torch.ones_like(readout[..., 0]) if world.valid is None else world.valid.double()
    columns = [number % readout.shape[-1] for number in range(3)]
    total = (readout[..., columns].double() * valid.unsqueeze(-1)).sum(1, keepdim=True)
    return total / valid.sum(1).clamp(min=1.0)[:, None, None]


def group_of(world: World) -> ChannelGroup:
    """Return the channel group of the layer: a linear producer, its bias, a linear consumer."""
    extent = Extent(world.nodes)
    return ChannelGroup(
        name="layer:nodes",
        kind="nodes",
        width=world.nodes,
        slices=(
            ParameterSlice("layer.weight", 0, "producer", extent),
            ParameterSlice("layer.bias", 0, "carrier", extent),
            ParameterSlice("readout.weight", 1, "consumer", extent),
        ),
        sites=(
            Site("layer", "output", "preactivation", 2, extent, value=1),
            Site("readout", "input", "activation", 2, extent, value=2),
        ),
    )


def parameters_of(world: World) -> dict[str, Tensor]:
    """Return the parameters that the group's slices name."""
    return {
        "layer.weight": world.incoming.clone(),
        "layer.bias": torch.zeros(world.nodes, dtype=torch.float64),
        "readout.weight": world.outgoing.clone(),
    }


def layout_of(world: World, tap: str = "activation") -> Layout:
    """Return the layout of the world's statistics at one place."""
    classes = max(CLASSES, int(world.targets.max()) + 1)
    inputs, outputs = world.incoming.shape[1], len(world.outgoing)
    width = inputs if tap in ("input", "weight") else world.nodes
    others = {"weight": world.nodes, "pair": outputs}.get(tap, 0)
    return Layout(width=width, folds=FOLDS, classes=classes, others=others)


def accumulate(
    statistic: Statistic[object], world: World, batches: Iterable[Tensor | slice] = (slice(None),)
) -> State:
    """Return the state after reading the batches one after the other."""
    state = statistic.start(layout_of(world, statistic.tap))
    for rows in batches:
        statistic.update(state, reading(world, statistic.tap, rows))
    return state


def view_of(
    world: World,
    statistics: Sequence[Statistic[object]],
    batches: Sequence[Tensor | slice] = (slice(None),),
) -> GroupView:
    """Return what a metric sees that declared these statistics and nothing else."""
    return view_with(world, {each: accumulate(each, world, batches) for each in statistics})


def view_with(world: World, states: Mapping[Statistic[object], State]) -> GroupView:
    """Return what a metric sees of finished states."""
    keep = torch.ones(FOLDS, dtype=torch.bool)
    group = group_of(world)
    places = {
        f"layer ({place})": {s: state for s, state in states.items() if s.tap == place}
        for place in _AT_MODULE
    }
    network = Network(
        graph=ChannelGraph((group,)),
        states={group.name: states, **places},
        input_of={name: name for name in places},
    )
    return GroupView(group, states, parameters_of(world), keep, network)

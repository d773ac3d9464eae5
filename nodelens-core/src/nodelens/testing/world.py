"""A small synthetic layer with known data, weights and gradients, to check metrics on.

``y = Wx + b``, ``a = relu(y)``, and a linear readout ``z = Va`` whose loss ½‖z − t‖² is summed over
rows and positions, so that dL/da = Vᵀ(z − t) is exact. Rows have class labels, on which x depends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from attrs import evolve, frozen
from torch import Tensor

from nodelens.channels.groups import ChannelGroup, Extent, ParameterSlice, Site, Tap
from nodelens.scoring.view import GroupView
from nodelens.seeding import generator
from nodelens.statistics.contract import Layout, Reading, State, Statistic

CLASSES = 3
FOLDS = 4


@frozen(eq=False)
class World:
    """One layer on one data set, all float64.

    `pre`, `activation` and `gradient` are ``(rows, positions, nodes)``, `targets` and `fold`
    ``(rows,)``, `valid` ``(rows, positions)`` or None, `incoming` ``(nodes, inputs)``, `outgoing`
    ``(outputs, nodes)``.
    """

    pre: Tensor
    activation: Tensor
    gradient: Tensor
    targets: Tensor
    fold: Tensor
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
        pre=pre,
        activation=pre.relu(),
        gradient=torch.zeros_like(pre),
        targets=targets,
        fold=torch.arange(rows) // 2 % FOLDS,
        incoming=incoming,
        outgoing=outgoing,
    )
    return with_loss(world, normal(rows, positions, 4))


def with_loss(world: World, wanted: Tensor) -> World:
    """Return the world with the gradient of ½‖Va − t‖², t ``(rows, positions, outputs)``."""
    residual = world.activation @ world.outgoing.T - wanted
    return evolve(world, gradient=residual @ world.outgoing)


def reading(world: World, tap: Tap, rows: Tensor | slice = slice(None)) -> Reading:
    """Return what a site reads of some rows; the gradient of the pre-activation is that of ReLU."""
    values = world.activation if tap == "activation" else world.pre
    gradient = world.gradient if tap == "activation" else world.gradient * (world.pre > 0)
    return Reading(
        values=values[rows].clone(),
        fold=world.fold[rows].clone(),
        gradient=gradient[rows].clone(),
        valid=None if world.valid is None else world.valid[rows].clone(),
        targets=world.targets[rows].clone(),
    )


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


def layout_of(world: World) -> Layout:
    """Return the layout of the world's statistics."""
    classes = max(CLASSES, int(world.targets.max()) + 1)
    return Layout(width=world.nodes, folds=FOLDS, classes=classes)


def accumulate(
    statistic: Statistic[object], world: World, batches: Iterable[Tensor | slice] = (slice(None),)
) -> State:
    """Return the state after reading the batches one after the other."""
    state = statistic.start(layout_of(world))
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
    return GroupView(group_of(world), states, parameters_of(world), keep)

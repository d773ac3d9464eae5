"""A small synthetic layer with known data, weights and gradients, to check metrics on.

``y = Wx + b``, ``a = relu(y)``, and a linear readout ``z = Va`` whose loss ½‖z − t‖² is summed over
rows and positions, so that dL/da = Vᵀ(z − t) is exact. Rows have class labels, on which x depends.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from attrs import evolve, field, frozen
from torch import Tensor

from nodelens.channels.groups import ChannelGroup, Extent, ParameterSlice, Site
from nodelens.interfaces.statistic import (
    Layout,
    Reading,
    State,
)
from nodelens.seeding import generator

CLASSES = 3
WHOLE = (slice(None),)
"""All rows in one batch."""
FOLDS = 4
WorldStates = Mapping[Any, State]
_AT_MODULE = ("input", "weight")
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
    """Return the world with the gradient of ½‖Va − t‖²; t is ``(rows, positions, outputs)``."""
    residual = world.activation @ world.outgoing.T - wanted
    return evolve(world, gradient=residual @ world.outgoing)


def reading(world: World, reads: str, rows: Tensor | slice = slice(None)) -> Reading:
    """Return the reading of a site on some rows of the world.

    The gradient of the pre-activation is that of ReLU. A pair's second tensor is the readout, a
    block's the activation and half the pre-activation; the numbers about the output are made from
    the readout's rows. The positions of nodes are a grid of three columns where they fill it.
    """
    readout = world.activation.double() @ world.outgoing.T
    slope = torch.ones_like(world.pre[0, 0]) if world.slope is None else world.slope
    written = world.gradient * (world.pre > 0) * slope.to(world.gradient)
    at = {"preactivation": world.pre, "input": world.inputs, "weight": world.inputs}
    values = at.get(reads, world.activation)
    partner = {"pair": readout, "block": world.activation + 0.5 * world.pre}.get(reads)
    gradient = written if reads in ("preactivation", *_AT_MODULE) else world.gradient
    positions = values.shape[1]
    return Reading(
        values=values[rows].clone(),
        fold=world.fold[rows].clone(),
        gradient=None if reads == "input" else gradient[rows].clone(),
        valid=None if world.valid is None else world.valid[rows].clone(),
        targets=world.targets[rows].clone(),
        index=world.index[rows].clone(),
        outputs=_outputs(world, readout)[rows].clone(),
        partner=None if partner is None else partner[rows].clone(),
        grid=(positions // 3, 3) if reads in _NODES and positions % 3 == 0 else (),
    )


def _outputs(world: World, readout: Tensor) -> Tensor:
    """Return three numbers per row that depend on its valid positions, ``(rows, 1, 3)``."""
    valid = torch.ones_like(readout[..., 0]) if world.valid is None else world.valid.double()
    columns = [number % readout.shape[-1] for number in range(3)]
    total = (readout[..., columns].double() * valid.unsqueeze(-1)).sum(1, keepdim=True)
    return total / valid.sum(1).clamp(min=1.0)[:, None, None]


def group_of(world: World) -> ChannelGroup:
    """Return the channel group of the layer: a linear producer, its bias, a linear consumer.

    The scale of a normalisation and a second producer belong to it where the world has them.
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
    """Return the group of the readout, which the layer's consumer writes and nothing reads."""
    extent = Extent(len(world.outgoing))
    site = Site("end", "input", "activation", 2, extent, value=3)
    return ChannelGroup("readout:nodes", "nodes", extent.width, sites=(site,), frozen="output")


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


def layout_of(world: World, reads: str = "activation") -> Layout:
    """Return the layout of the world's statistics at one place."""
    classes = max(CLASSES, int(world.targets.max()) + 1)
    inputs, outputs = world.incoming.shape[1], len(world.outgoing)
    width = inputs if reads in ("input", "weight") else world.nodes
    others = {"weight": world.nodes, "block": world.nodes, "pair": outputs}.get(reads, 0)
    return Layout(width=width, folds=FOLDS, classes=classes, others=others)

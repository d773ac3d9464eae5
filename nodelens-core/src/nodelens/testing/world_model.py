"""The toy world as a model that runs, for statistics with passes of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from nodelens.capture.batches import Batch
from nodelens.channels.groups import ChannelGraph
from nodelens.interfaces.statistic import PassStatistic, State, Visit
from nodelens.seeding import generator
from nodelens.testing.world import World, group_of


class WorldModel(nn.Module):
    """``z = V a`` with ``a = slope · relu(Wx + c) + d``, float64.

    `c` and `d`, constants of each row, make pre-activation and activation those of the world. Its
    batches give the rows' numbers in the world as ``row``.
    """

    def __init__(self, world: World) -> None:
        super().__init__()
        nodes, inputs = world.incoming.shape
        self.layer = _linear(inputs, nodes, bias=True)
        self.readout = _linear(nodes, len(world.outgoing), bias=False)
        with torch.no_grad():
            self.layer.weight.copy_(world.incoming)
            self.layer.bias.zero_()
            self.readout.weight.copy_(world.outgoing)
        self.slope = torch.ones(nodes).double() if world.slope is None else world.slope
        self.offset = world.pre.double() - world.inputs.double() @ world.incoming.T
        fired = world.pre.double().relu() * self.slope
        self.rest = world.activation.double() - fired
        self.given = world.activation.double() @ world.outgoing.T
        self.wanted = self.given - residual(world)

    def forward(self, inputs: Tensor, row: Tensor) -> Tensor:
        """Return the readout, ``(rows, positions, outputs)``."""
        fired = (self.layer(inputs) + self.offset[row]).relu() * self.slope
        readout: Tensor = self.readout(fired + self.rest[row])
        return readout

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """Return ½‖z − t‖² of every row, summed over its valid positions, ``(rows,)``.

        A cube that is flat at the world's own readout is added: gradient and Hessian there do not
        contain it, a path does.
        """
        rows = batch.kwargs["row"]
        bend = (output - self.given[rows]).pow(3) / 60
        error = (0.5 * (output - self.wanted[rows]).square() + bend).sum(-1)
        total: Tensor = (error if batch.mask is None else error * batch.mask).sum(1)
        return total


def _linear(inputs: int, outputs: int, bias: bool) -> nn.Linear:
    """Return a layer without drawing weights, which would move the global random state."""
    layer: nn.Linear = skip_init(  # type: ignore[no-untyped-call]
        nn.Linear, inputs, outputs, bias=bias, dtype=torch.float64
    )
    return layer


def residual(world: World) -> Tensor:
    """Return dL/dz of the readout, ``(rows, positions, outputs)``; it gives the world's dL/da."""
    inverse: Tensor = torch.linalg.pinv(world.outgoing)
    return world.gradient.double() @ inverse


def batch_of(world: World, rows: Tensor | slice) -> Batch:
    """Return a batch of some rows; the target of every position is a class among the outputs."""
    number = torch.arange(world.rows)[rows]
    labels = (world.targets[rows] % len(world.outgoing)).unsqueeze(1)
    return Batch(
        args=(world.inputs[rows].double(),),
        kwargs={"row": number},
        targets=labels.expand(-1, world.inputs.shape[1]),
        mask=None if world.valid is None else world.valid[rows],
        index=world.index[rows],
    )


def visited(
    statistic: PassStatistic[Any],
    world: World,
    state: State,
    batches: Iterable[Tensor | slice] = (slice(None),),
    earlier: Mapping[Any, State] | None = None,
    model: WorldModel | None = None,
) -> State:
    """Add visits of the batches to `state` and return it; `earlier` are states of other passes."""
    group = group_of(world)
    model = (model or WorldModel(world)).eval().requires_grad_(False)
    for rows in batches:
        batch = batch_of(world, rows)
        folds = world.fold[rows]
        for fold in sorted(set(folds.tolist())):
            visit = Visit(
                model=model,
                graph=ChannelGraph((group,)),
                batch=batch.rows_where(folds == fold),
                fold=fold,
                loss=model.loss,
                generator=generator(0, "testing", *world.index[rows].tolist()),
                earlier={group.name: earlier or {}},
            )
            statistic.visit(visit, {group.name: state})
    return state

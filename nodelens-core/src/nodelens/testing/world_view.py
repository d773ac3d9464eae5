"""Views and states of the toy world for metrics and statistics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from attrs import evolve
from torch import Tensor

from nodelens.channels.groups import Block, ChannelGraph
from nodelens.interfaces.statistic import (
    AnyStatistic,
    PassStatistic,
    Reading,
    State,
    Statistic,
)
from nodelens.scoring.view import GroupView, Network
from nodelens.testing.world import (
    FOLDS,
    WHOLE,
    World,
    WorldStates,
    group_of,
    layout_of,
    next_group,
    parameters_of,
    reading,
)
from nodelens.testing.world_model import residual, visited

_BY_NAME = ("input", "weight", "block")


def _of_readout(world: World, states: WorldStates) -> WorldStates:
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


def reading_for(
    statistic: Statistic[object], world: World, rows: Tensor | slice = slice(None)
) -> Reading:
    """Return a statistic's reading; with drawn labels every second row's gradient is doubled."""
    if "sampled_gradient" in statistic.requires:
        factors = (1.0 + world.index % 2).to(world.gradient)
        world = evolve(world, gradient=world.gradient * factors[:, None, None])
    return reading(world, statistic.reads, rows)


def accumulate(
    statistic: AnyStatistic[object],
    world: World,
    batches: Iterable[Tensor | slice] = (slice(None),),
    earlier: WorldStates | None = None,
) -> State:
    """Return the state after reading the batches one after the other.

    A statistic with passes of its own visits them; `earlier` are the states of those before it,
    over all rows where they are not given.
    """
    state = statistic.start(layout_of(world, statistic.reads))
    if isinstance(statistic, PassStatistic):
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
    """Return the group view of a metric that declares the given statistics and nothing else."""
    states: dict[Any, State] = {}
    for each in statistics:
        if batches is WHOLE:
            states[each] = _whole(each, world)
        else:
            states[each] = accumulate(each, world, batches, states)
    return view_with(world, states)


def _whole(statistic: AnyStatistic[object], world: World) -> State:
    """Return a copy of the state after one reading of all rows; the reading is cached."""
    if statistic not in world.read:
        world.read[statistic] = accumulate(statistic, world)
    return {name: value.clone() for name, value in world.read[statistic].items()}


def _at_readout(world: World, states: WorldStates) -> dict[Any, State]:
    """Return the states of the readout's weight, for the statistics that are read there."""
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


def view_with(world: World, states: WorldStates) -> GroupView:
    """Return the group view of finished states."""
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

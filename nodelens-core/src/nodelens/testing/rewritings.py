"""Worlds made from a world: other nodes, other rows, edge cases, rewritings of a layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache

import torch
from attrs import evolve
from torch import Tensor

from nodelens.testing.world import CLASSES, World, make_world


def select_nodes(world: World, nodes: Sequence[int]) -> World:
    """Return the world with the given nodes, in their order; a node may be named twice."""
    index = torch.tensor(nodes)
    return evolve(
        world,
        pre=world.pre[..., index],
        activation=world.activation[..., index],
        gradient=world.gradient[..., index],
        incoming=world.incoming[index],
        outgoing=world.outgoing[:, index],
        scale=None if world.scale is None else world.scale[index],
        slope=None if world.slope is None else world.slope[index],
        gate=None if world.gate is None else world.gate[index],
    )


def gated(world: World) -> World:
    """Return the world with a second weight that writes the nodes and reads the inputs."""
    return evolve(world, gate=world.incoming.flip(1) * 0.5 + 0.1)


def select_rows(world: World, rows: Sequence[int]) -> World:
    """Return the world with the given rows, in their order, each in its own fold and class."""
    index = torch.tensor(rows)
    return evolve(
        world,
        inputs=world.inputs[index],
        pre=world.pre[index],
        activation=world.activation[index],
        gradient=world.gradient[index],
        targets=world.targets[index],
        fold=world.fold[index],
        index=world.index[index],
        valid=None if world.valid is None else world.valid[index],
    )


def pad(world: World, positions: int = 3) -> World:
    """Return the world with masked positions at the end of every row and a row of nothing else."""

    def wider(values: Tensor) -> Tensor:
        return torch.nn.functional.pad(values, (0, 0, 0, positions, 0, 1))

    valid = torch.zeros(world.rows + 1, world.pre.shape[1] + positions, dtype=torch.bool)
    valid[:-1, :-positions] = True
    return evolve(
        world,
        inputs=wider(world.inputs),
        pre=wider(world.pre),
        activation=wider(world.activation),
        gradient=wider(world.gradient),
        targets=torch.cat([world.targets, world.targets[:1]]),
        fold=torch.cat([world.fold, world.fold[:1]]),
        index=torch.cat([world.index, world.index.max()[None] + 1]),
        valid=valid,
    )


def silence(world: World, node: int) -> World:
    """Return the world in which one node never fires: a = 0, y below zero, weights as they are."""
    pre, activation = world.pre.clone(), world.activation.clone()
    pre[..., node] -= pre[..., node].max() + 1.0
    activation[..., node] = 0.0
    return evolve(world, pre=pre, activation=activation)


def fire_once(world: World, node: int) -> World:
    """Return the world in which one node is silent in all rows but the first."""
    silent = silence(world, node)
    pre, activation = silent.pre, silent.activation
    pre[0, :, node] = activation[0, :, node] = world.pre[0, :, node].abs() + 1.0
    return evolve(silent, pre=pre, activation=activation)


def single(world: World) -> World:
    """Return the world with activations and gradients in float32."""
    return evolve(
        world,
        inputs=world.inputs.float(),
        pre=world.pre.float(),
        activation=world.activation.float(),
        gradient=world.gradient.float(),
    )


def fix(world: World, node: int, value: float) -> World:
    """Return the world in which one node always has one value, before and after ReLU."""
    pre, activation = world.pre.clone(), world.activation.clone()
    pre[..., node] = value
    activation[..., node] = value
    return evolve(world, pre=pre, activation=activation)


def unweighted(world: World, node: int) -> World:
    """Return the world in which one node has no weights, and therefore no pre-activation."""
    incoming, outgoing = world.incoming.clone(), world.outgoing.clone()
    incoming[node] = 0.0
    outgoing[:, node] = 0.0
    return evolve(fix(world, node, 0.0), incoming=incoming, outgoing=outgoing)


def _factors(world: World) -> Tensor:
    """Return a positive factor per node, all different."""
    return torch.linspace(0.4, 2.5, world.nodes, dtype=torch.float64)


def _slope(world: World) -> Tensor:
    """Return da/dy of the nodes that are on."""
    return torch.ones(world.nodes, dtype=torch.float64) if world.slope is None else world.slope


def _activation_scale(world: World) -> World:
    factors = _factors(world)
    return evolve(world, activation=world.activation * factors, slope=_slope(world) * factors)


def _activation_shift(world: World) -> World:
    return evolve(world, activation=world.activation + 1e4 * _factors(world))


def _functional(world: World) -> World:
    factors = _factors(world)
    return evolve(
        world,
        activation=world.activation * factors,
        gradient=world.gradient / factors,
        outgoing=world.outgoing / factors,
        scale=None if world.scale is None else world.scale * factors,
        slope=_slope(world) * factors,
    )


def _incoming_scale(world: World) -> World:
    factors = _factors(world)
    return evolve(
        world,
        incoming=world.incoming * factors.unsqueeze(1),
        pre=world.pre * factors,
        slope=_slope(world) / factors,
    )


REWRITINGS: Mapping[str, Callable[[World], World]] = {
    "activation_scale": _activation_scale,
    "activation_shift": _activation_shift,
    "functional": _functional,
    "incoming_scale": _incoming_scale,
}
"""The rewritings that a metric can be invariant to; each node gets a factor or shift of its own."""

EDGES: Mapping[str, Callable[[World], World]] = {
    "a dead node": lambda world: silence(world, 2),
    "a constant node": lambda world: fix(world, 2, 0.1),
    "two constant nodes": lambda world: fix(fix(world, 2, 0.1), 4, 0.7),
    "duplicate nodes": lambda world: select_nodes(world, [0, 1, 2, 3, 0]),
    "a node without weights": lambda world: unweighted(world, 2),
    "only dead nodes": lambda world: silence(silence(select_nodes(world, [0, 1]), 0), 1),
    "one node": lambda world: select_nodes(world, [3]),
    "one row": lambda world: select_rows(world, [0]),
    "one class": lambda world: select_rows(world, list(range(0, world.rows, CLASSES))),
    "small activations": lambda world: evolve(world, activation=1e-30 * world.activation),
    "fewer rows than nodes": lambda world: select_rows(world, [0, 1, 2, 3]),
}
"""The cases in which careless formulas divide by zero."""


@cache
def world_of(name: str) -> World:
    """Return the ordinary world in an edge case, after a rewriting, or gated; made once."""
    return {**EDGES, **REWRITINGS, "gated": gated}[name](make_world())

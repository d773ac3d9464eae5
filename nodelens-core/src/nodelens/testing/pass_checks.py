"""Checks of a statistic with passes of its own, on the toy world as a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from attrs import evolve

from nodelens.testing.checks import Check, demand
from nodelens.testing.imports import check_light
from nodelens.testing.statistic_checks import SUMS, demand_same, summary_of
from nodelens.testing.world import layout_of, make_world
from nodelens.testing.world_model import WorldModel, visited
from nodelens.testing.world_view import accumulate

if TYPE_CHECKING:
    from nodelens.interfaces.statistic import PassStatistic


def check_pass_statistic(
    statistic: PassStatistic[Any], *, holds_parameters: bool = False
) -> list[Check]:
    """Return the checks of one statistic with passes of its own.

    Results must not depend on the order and batching of the rows, drawn numbers included.

    Args:
        statistic: an instance with its options.
        holds_parameters: whether a state holds as much as the model has parameters, which `floats`
            cannot know.

    Returns:
        Named checks, each to be run by itself.
    """
    name, module = str(statistic), type(statistic).__module__
    checks = {**SUMS, **_CHECKS}
    if holds_parameters:
        del checks["floats() is what a state holds"]
    return [
        Check(f"{name}: light import", partial(check_light, module)),
        *(Check(f"{name}: {label}", partial(run, statistic)) for label, run in checks.items()),
    ]


def _says_passes(statistic: PassStatistic[Any]) -> None:
    demand(statistic.reads == "model", f"reads is {statistic.reads!r}, not 'model'")
    demand(isinstance(statistic.passes, str) and statistic.passes, "passes says nothing")


def _model_unchanged(statistic: PassStatistic[Any]) -> None:
    world = make_world()
    model = WorldModel(world).eval().requires_grad_(False)
    before = {name: value.clone() for name, value in model.named_parameters()}
    random, grad = torch.get_rng_state(), torch.is_grad_enabled()
    state = statistic.start(layout_of(world))
    visited(statistic, world, state, earlier=_earlier(statistic), model=model)
    for name, value in model.named_parameters():
        demand(torch.equal(value, before[name]), f"visit changed {name}")
        demand(not value.requires_grad, f"visit left requires_grad of {name} on")
        demand(value.grad is None, f"visit left a gradient at {name}")
    for path, module in model.named_modules():
        hooks = len(module._forward_hooks) + len(module._forward_pre_hooks)
        demand(not hooks, f"visit left {hooks} hooks at {path or 'the model'}")
        demand(not module.training, f"visit left {path or 'the model'} in training mode")
    demand(torch.equal(torch.get_rng_state(), random), "visit moved the global random state")
    demand(torch.is_grad_enabled() == grad, "visit left autograd in another mode")


def _earlier(statistic: PassStatistic[Any]) -> dict[Any, Any]:
    world = make_world()
    return {each: accumulate(each, world) for each in getattr(statistic, "after", ())}


def _single(statistic: PassStatistic[Any]) -> None:
    world = make_world()
    alone = [torch.tensor([row]) for row in range(world.rows)]
    found = summary_of(statistic, accumulate(statistic, world, alone))
    whole = summary_of(statistic, accumulate(statistic, world))
    demand_same(found, whole, "visiting rows one by one")


def _other_unmodified(statistic: PassStatistic[Any]) -> None:
    world = make_world()
    left, right = (accumulate(statistic, world, [part]) for part in (slice(0, 9), slice(9, None)))
    before = {name: value.clone() for name, value in right.items()}
    statistic.merge(left, right)
    visited(statistic, world, left, earlier=_earlier(statistic))
    for name, value in before.items():
        demand(torch.equal(right[name], value), f"merge changed {name} of the other state")


def _saved(statistic: PassStatistic[Any]) -> None:
    from nodelens.storage.tensors import read_state, write_state

    world = make_world()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "state.safetensors"
        write_state(path, accumulate(statistic, world, [slice(0, 9)]), {})
        state = read_state(path)
    visited(statistic, world, state, [slice(9, None)], _earlier(statistic))
    whole = accumulate(statistic, world, [slice(0, 9), slice(9, None)])
    demand_same(summary_of(statistic, state), summary_of(statistic, whole), "saving half way")


def _flat(statistic: PassStatistic[Any]) -> None:
    world = make_world()
    flat = evolve(world, gradient=0.0 * world.gradient)
    for name, value in summary_of(statistic, accumulate(statistic, flat)).items():
        demand(value.isfinite().all(), f"{name} is not finite where all gradients are 0")


_CHECKS: Mapping[str, Callable[[PassStatistic[Any]], None]] = {
    "says its passes": _says_passes,
    "model unchanged": _model_unchanged,
    "rows one by one": _single,
    "merge leaves the other state": _other_unmodified,
    "saved and resumed": _saved,
    "finite without gradients": _flat,
}

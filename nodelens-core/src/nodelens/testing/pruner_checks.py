"""Checks of a pruning method for its author's own test suite.

In a test file::

    @pytest.mark.parametrize("check", check_pruner(MyMethod(sparsity=0.5)), ids=str)
    def test_my_method(check):
        check.run()
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import evolve, fields, has

from nodelens.interfaces.pruner import Pruner, PruningPlan, PruningRequest
from nodelens.testing.checks import Check, demand
from nodelens.testing.imports import check_light

if TYPE_CHECKING:
    from nodelens.scoring.scores import Scores

_SEEDS = (0, 1, 2)


def check_pruner(instance: Pruner) -> Iterator[Check]:
    """Yield the checks of one pruning method, on a small network with random scores.

    Methods with options ``sparsity`` and ``protect`` get checks of these, too.

    Args:
        instance: a pruning method with any options.

    Returns:
        Named checks, each to be run by itself.
    """
    checks: list[tuple[str, Callable[[Pruner], None]]] = [
        ("imports without heavy packages", _light),
        ("requests metrics by name", _metric_names),
        ("names sorted nodes of prunable groups", _prunable),
        ("never empties a group", _never_empty),
        ("the same seed gives the same plan", _deterministic),
        ("equal scores are no reason to keep or drop more", _ties),
        ("leaves model and scores as they were", _unmodified),
    ]
    cls: type = type(instance)
    if has(cls):
        options = {each.name for each in fields(cls)}
        if "sparsity" in options:
            checks.append(("reaches the sparsity exactly", _exact))
            checks.append(("never empties a group at high sparsity", _never_empty_high))
        if "protect" in options:
            checks.append(("leaves protected groups whole", _protected))
    for name, run in checks:
        yield Check(name, partial(run, instance))


def example_request(
    metrics: tuple[str, ...], seed: int = 0, constant: bool = False
) -> PruningRequest:
    """Return a network of groups of 12 and 7 prunable nodes and 4 outputs, with random scores."""
    import torch
    from torch import nn

    from nodelens.graph import infer
    from nodelens.seeding import generator

    random = generator(seed, "pruner checks")
    model = nn.Sequential(nn.Linear(5, 12), nn.ReLU(), nn.Linear(12, 7), nn.ReLU(), nn.Linear(7, 4))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=random))
    graph = infer(model, torch.zeros(2, 5))
    widths = {group.name: group.width for group in graph}
    return PruningRequest(model, graph, _scores(metrics, widths, random, constant), seed)


def _scores(
    metrics: tuple[str, ...],
    widths: Mapping[str, int],
    random: Any,
    constant: bool,
) -> Scores:
    import torch

    from nodelens.scoring.scores import Score, Scores

    scores = {}
    for metric in (name.rpartition(":")[2] for name in metrics):
        for group, width in widths.items():
            values = torch.rand(width, generator=random, dtype=torch.float64).numpy()
            values = 0 * values + 1 if constant else values
            scores[metric, group] = Score(metric, group, values, True, "1")
    return Scores(scores)


def _plan(instance: Pruner, seed: int = 0, constant: bool = False) -> PruningPlan:
    return instance.plan(example_request(instance.metrics(), seed, constant))


def _widths() -> dict[str, int]:
    return {group.name: group.width for group in example_request(()).graph if group.prunable}


def _removed(plan: PruningPlan) -> int:
    widths = _widths()
    return sum(widths[name] - len(nodes) for name, nodes in plan.keep.items())


def _light(instance: Pruner) -> None:
    check_light(type(instance).__module__)


def _metric_names(instance: Pruner) -> None:
    metrics = instance.metrics()
    right = isinstance(metrics, tuple) and all(isinstance(name, str) for name in metrics)
    demand(right, f"metrics() must return a tuple of names, got {metrics!r}")


def _prunable(instance: Pruner) -> None:
    widths = _widths()
    for name, nodes in _plan(instance).keep.items():
        demand(name in widths, f"{name!r} is not a group that can be pruned")
        demand(list(nodes) == sorted(set(nodes)), f"{name}: nodes are not sorted: {nodes}")
        demand(set(nodes) <= set(range(widths[name])), f"{name}: nodes out of range: {nodes}")


def _never_empty(instance: Pruner) -> None:
    for seed in _SEEDS:
        for name, nodes in _plan(instance, seed).keep.items():
            demand(nodes, f"{name}: no node is kept")


def _never_empty_high(instance: Any) -> None:
    _never_empty(evolve(instance, sparsity=0.99))


def _deterministic(instance: Pruner) -> None:
    for seed in _SEEDS:
        demand(_plan(instance, seed).keep == _plan(instance, seed).keep, f"seed {seed} differs")


def _ties(instance: Pruner) -> None:
    removed, tied = _removed(_plan(instance)), _removed(_plan(instance, constant=True))
    demand(removed == tied, f"{removed} nodes pruned, but {tied} where all scores are equal")


def _exact(instance: Any) -> None:
    total = sum(_widths().values())
    for sparsity in (0.0, 0.25, 0.5):
        removed = _removed(_plan(evolve(instance, sparsity=sparsity)))
        demand(
            abs(removed - sparsity * total) <= 0.5,
            f"sparsity {sparsity} of {total} nodes pruned {removed}",
        )


def _protected(instance: Any) -> None:
    first, width = next(iter(_widths().items()))
    plan = _plan(evolve(instance, protect=(first,)))
    kept = len(plan.keep.get(first, range(width)))
    demand(kept == width, f"{first} is protected, but only {kept} of {width} nodes are kept")


def _unmodified(instance: Pruner) -> None:
    import torch

    request = example_request(instance.metrics())
    weights = copy.deepcopy(request.model.state_dict())
    scores = request.scores.to_dict()
    random = torch.get_rng_state()
    instance.plan(request)
    same = all(torch.equal(weights[name], now) for name, now in request.model.state_dict().items())
    demand(same, "the model's weights were changed")
    demand(request.scores.to_dict() == scores, "the scores were changed")
    demand(torch.equal(random, torch.get_rng_state()), "the global random state was changed")

"""Checks of a metric on a synthetic layer, one function for each expectation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from attrs import evolve
from torch import Tensor

from nodelens.errors import NotApplicableError
from nodelens.interfaces.metric import weights_of
from nodelens.testing.checks import demand
from nodelens.testing.random_metric_checks import demand_agreement, draws, estimates
from nodelens.testing.rewritings import (
    fire_once,
    pad,
    select_nodes,
    select_rows,
    silence,
    single,
    world_of,
)
from nodelens.testing.world import FOLDS, WHOLE, World, make_world
from nodelens.testing.world_view import accumulate, view_of, view_with

if TYPE_CHECKING:
    from nodelens.interfaces.metric import Metric
    from nodelens.interfaces.statistic import State
    from nodelens.scoring.view import GroupView

TOLERANCE = 1e-10
"""The largest rounding difference, relative to the largest score."""

SINGLE = 2e-5
"""The largest rounding difference where activations and gradients are float32."""

_BATCHES = (slice(0, 1), slice(1, 12), slice(12, 13), slice(13, None))


def scores(metric: Metric, world: World) -> Tensor:
    """Return the metric's scores of a world, from the statistics that it declares."""
    return metric.score(_view(metric, world))


def _view(metric: Metric, world: World, *batches: Tensor | slice) -> GroupView:
    """Return a view with the statistics and the weight reductions that the metric declares."""
    view = view_of(world, metric.statistics, batches or WHOLE)
    return evolve(view, declared=frozenset(weights_of(metric)))


def _same(found: Tensor, expected: Tensor, what: str, tolerance: float = TOLERANCE) -> None:
    demand(found.shape == expected.shape, f"{what} changed the shape to {tuple(found.shape)}")
    scale = expected.abs().max()
    error = float((found - expected).abs().max() / scale.clamp(min=torch.finfo(scale.dtype).tiny))
    demand(error <= tolerance, f"{what} changed the scores by {error:.1e} of the largest")


def _shape(metric: Metric) -> None:
    world = make_world()
    found = scores(metric, world)
    demand(isinstance(found, Tensor), f"score returned {type(found).__name__}, not a tensor")
    demand(found.dtype == torch.float64, f"scores are {found.dtype}, not torch.float64")
    expected = (1 if metric.info.level == "layer" else world.nodes,)
    demand(found.shape == expected, f"scores have shape {tuple(found.shape)}, not {expected}")
    demand(found.isfinite().all(), f"scores of an ordinary layer are not finite: {found.tolist()}")


def _declared(metric: Metric) -> None:
    try:
        scores(metric, make_world())
    except (NotApplicableError, KeyError, ValueError) as error:
        raise AssertionError(f"with what it declares alone: {error}") from error


def _distinguishes(metric: Metric) -> None:
    if metric.info.level == "layer":
        return
    found = scores(metric, make_world())
    spread = float(found.max() - found.min())
    demand(spread > 0, "all nodes of an ordinary layer get the same score: that describes a layer")


def _repeats(metric: Metric) -> None:
    demand(torch.equal(scores(metric, make_world()), scores(metric, make_world())), "runs differ")


def _order(metric: Metric) -> None:
    world = make_world()
    shuffled = select_rows(world, list(reversed(range(world.rows))))
    _same(scores(metric, shuffled), scores(metric, world), "another order of the rows")


def _batching(metric: Metric) -> None:
    world = make_world()
    found = metric.score(_view(metric, world, *_BATCHES))
    _same(found, scores(metric, world), "another batching of the rows")


def _merging(metric: Metric) -> None:
    world = make_world()
    states: dict[Any, State] = {}
    for statistic in metric.statistics:
        halves = [accumulate(statistic, world, b, states) for b in (_BATCHES[2:], _BATCHES[:2])]
        statistic.merge(*halves)
        states[statistic] = halves[0]
    _same(metric.score(view_with(world, states)), scores(metric, world), "merging two halves")


def _padding(metric: Metric) -> None:
    world = make_world()
    _same(scores(metric, pad(world)), scores(metric, world), "masked padding")


def _fold_left_out(metric: Metric) -> None:
    """Leave out the only fold in which a node fires, so that a dead node remains."""
    worlds = {TOLERANCE: fire_once(make_world(), 2), SINGLE: single(fire_once(make_world(), 2))}
    for tolerance, world in worlds.items():
        view = _view(metric, world)
        fold = int(world.fold[0])
        found = metric.score(evolve(view, keep=torch.arange(FOLDS) != fold))
        rows = [row for row in range(world.rows) if int(world.fold[row]) != fold]
        demand(found.isfinite().all(), f"scores without it are not finite: {found.tolist()}")
        if any(getattr(statistic, "pooled", False) for statistic in metric.statistics):
            continue  # what is kept of the other folds depends on this one
        _same(
            found, scores(metric, select_rows(world, rows)), "a fold read and left out", tolerance
        )


def _permutation(metric: Metric) -> None:
    world = make_world()
    order = [(3 * node + 2) % world.nodes for node in range(world.nodes)]
    if draws(metric):
        values, error = estimates(metric, world)
        permuted = estimates(metric, select_nodes(world, order))
        demand_agreement(permuted, (values[order], error[order]), "another order of the nodes")
        return
    found = scores(metric, select_nodes(world, order))
    layer = metric.info.level == "layer"
    expected = scores(metric, world)
    _same(found, expected if layer else expected[order], "another order of the nodes")


def _unmodified(metric: Metric) -> None:
    view = _view(metric, make_world())
    before = _snapshot(view)
    first = metric.score(view)
    kept = first.clone()
    for name, value in _snapshot(view).items():
        demand(torch.equal(value, before[name]), f"score changed {name}")
    again = metric.score(view)
    demand(torch.equal(first, kept), "a second call of score changed the first result")
    demand(torch.equal(again, kept), "a second call of score gives another result")


def _snapshot(view: GroupView) -> dict[str, Tensor]:
    """Return copies of all tensors that a metric can reach."""
    found = {f"parameter {name}": value.clone() for name, value in view.parameters.items()}
    for statistic, state in view.states.items():
        found |= {f"{statistic}: {name}": value.clone() for name, value in state.items()}
    return found


def finite(metric: Metric, cases: Sequence[str]) -> None:
    """Demand finite scores, or a reason why there are none, in some edge cases."""
    for case in cases:
        try:
            found = scores(metric, world_of(case))
        except NotApplicableError as error:
            demand(str(error), "NotApplicableError without a reason")
            continue
        where = f" with {case}" if len(cases) > 1 else ""
        demand(found.isfinite().all(), f"scores are not finite{where}: {found.tolist()}")


def invariant(metric: Metric, rewriting: str) -> None:
    """Demand unchanged scores after a rewriting."""
    world = make_world()
    _same(scores(metric, world_of(rewriting)), scores(metric, world), rewriting)


def dead(metric: Metric) -> None:
    """Demand the importance of a dead node that the metric declares."""
    node = 2
    found = scores(metric, silence(make_world(), node))
    importance = found if metric.info.higher_is_better else -found
    extreme = importance.min() if metric.info.dead_nodes == "lowest" else importance.max()
    demand(
        importance[node] == extreme,
        f"a dead node gets {float(found[node]):g}, not the score of {metric.info.dead_nodes} "
        f"importance among {[round(value, 6) for value in found.tolist()]}",
    )


def changes(pairs: Sequence[tuple[Metric, Metric]], option: str) -> None:
    """Demand another result, of an ordinary layer, a gated one, or one with more nodes."""
    demand(pairs, f"no other value is known: give {option} examples, or variants=[...]")
    worlds = (make_world(), world_of("gated"), make_world(nodes=12))
    same = all(
        _agree(_outcome(one, world), _outcome(other, world))
        for one, other in pairs
        for world in worlds
    )
    demand(not same, "the option changes nothing on an ordinary layer")


def _outcome(metric: Metric, world: World) -> Tensor | None:
    """Return the scores, None where the metric is not applicable."""
    try:
        return scores(metric, world)
    except NotApplicableError:
        return None


def _agree(one: Tensor | None, other: Tensor | None) -> bool:
    return one is other if one is None or other is None else torch.equal(one, other)


ON_DATA: Mapping[str, Callable[[Metric], None]] = {
    "what is declared suffices": _declared,
    "repeats": _repeats,
    "order of rows": _order,
    "batching": _batching,
    "merging": _merging,
    "padding": _padding,
    "inputs unmodified": _unmodified,
}
"""Checks of how data reach a metric, which depend on the statistics that are read."""

ON_VALUES: Mapping[str, Callable[[Metric], None]] = {
    "shape, dtype and finite": _shape,
    "differs between nodes": _distinguishes,
    "leaving out the one fold in which a node fires": _fold_left_out,
    "order of nodes": _permutation,
}
"""Checks of the values that a metric gives, which depend on every option."""

"""Checks that every metric must pass, on a synthetic layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Any

import torch
from attrs import evolve
from torch import Tensor

from nodelens.errors import NotApplicableError
from nodelens.interfaces.metric import Metric, level_of
from nodelens.interfaces.statistic import State
from nodelens.plugins.specs import MetricSpec
from nodelens.scoring.view import GroupView
from nodelens.testing.checks import Check, demand
from nodelens.testing.composed import composed
from nodelens.testing.estimates import demand_agreement, draws, estimates
from nodelens.testing.imports import check_light
from nodelens.testing.metric_metadata import check_metadata, check_options_documented, options_of
from nodelens.testing.rewritings import (
    EDGES,
    REWRITINGS,
    fire_once,
    gated,
    pad,
    select_nodes,
    select_rows,
    silence,
    single,
)
from nodelens.testing.world import FOLDS, World, accumulate, make_world, view_of, view_with

TOLERANCE = 1e-10
"""Largest difference that rounding may make, relative to the largest score."""

_BATCHES = (slice(0, 1), slice(1, 12), slice(12, 13), slice(13, None))


def check_metric(
    metric: MetricSpec | type[Metric] | Metric,
    *,
    variants: Sequence[Mapping[str, Any]] | None = None,
    parts: Mapping[str, Metric] | None = None,
) -> list[Check]:
    """Return the checks of one metric: a spec, a class, or an instance with options.

    `variants` are option settings, such as ``[{"top": 2}]``: each is checked like the metric
    itself, must change a result, and together they must name every option. Without it options are
    left at the given values. `parts` are the metrics, by name, that the metric is made of. Raises
    `ValueError` when one of them is missing.
    """
    subject, given = _instance(metric), parts or {}
    return [
        *_described(subject),
        *_numeric(composed(subject, given), type(subject).__name__),
        *_varied(subject, variants, given),
    ]


def _described(metric: Metric) -> Iterator[Check]:
    """Yield the checks of what the metric says and imports."""
    name = type(metric).__name__
    yield Check(f"{name}: metadata", partial(check_metadata, metric))
    yield Check(f"{name}: options documented", partial(check_options_documented, metric))
    yield Check(f"{name}: light import", partial(check_light, type(metric).__module__))


def _varied(
    metric: Metric, variants: Sequence[Mapping[str, Any]] | None, parts: Mapping[str, Metric]
) -> Iterator[Check]:
    """Yield the checks of other option settings."""
    if variants is None:
        return
    name = type(metric).__name__
    yield Check(f"{name}: variants name every option", partial(_named, metric, variants))
    for options in variants:
        other = composed(type(metric)(**{**options_of(metric), **options}), parts)
        label = f"{name}({', '.join(f'{key}={value!r}' for key, value in options.items())})"
        yield Check(f"{label}: changes a result", partial(_changes, composed(metric, parts), other))
        yield from _numeric(other, label)


def _instance(metric: MetricSpec | type[Metric] | Metric) -> Metric:
    if isinstance(metric, MetricSpec):
        module, _, attribute = metric.target.partition(":")
        metric = getattr(import_module(module), attribute)
    return metric() if isinstance(metric, type) else metric  # type: ignore[return-value]


def _numeric(metric: Metric, name: str) -> Iterator[Check]:
    """Yield the checks of values, for one setting of the options."""
    for what, run in _CHECKS.items():
        yield Check(f"{name}: {what}", partial(run, metric))
    for case, edge in EDGES.items():
        yield Check(f"{name}: finite with {case}", partial(_finite, metric, edge))
    for rewriting in sorted(getattr(metric, "invariances", frozenset()) & REWRITINGS.keys()):
        yield Check(f"{name}: invariant to {rewriting}", partial(_invariant, metric, rewriting))
    dead = getattr(metric, "dead", "any")
    if dead in ("worst", "best"):
        yield Check(f"{name}: a dead node is {dead}", partial(_dead, metric))


def scores(metric: Metric, world: World) -> Tensor:
    """Return the metric's scores of a world, from the statistics that it declares."""
    return metric.score(view_of(world, metric.needs()))


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
    expected = (1 if level_of(metric) == "layer" else world.nodes,)
    demand(found.shape == expected, f"scores have shape {tuple(found.shape)}, not {expected}")
    demand(found.isfinite().all(), f"scores of an ordinary layer are not finite: {found.tolist()}")


def _declared(metric: Metric) -> None:
    try:
        scores(metric, make_world())
    except (NotApplicableError, KeyError) as error:
        raise AssertionError(f"with the statistics of needs() alone: {error}") from error


def _distinguishes(metric: Metric) -> None:
    if level_of(metric) == "layer":
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
    found = metric.score(view_of(world, metric.needs(), _BATCHES))
    _same(found, scores(metric, world), "another batching of the rows")


def _merging(metric: Metric) -> None:
    world = make_world()
    states: dict[Any, State] = {}
    for statistic in metric.needs():
        halves = [accumulate(statistic, world, b, states) for b in (_BATCHES[2:], _BATCHES[:2])]
        statistic.merge(*halves)
        states[statistic] = halves[0]
    _same(metric.score(view_with(world, states)), scores(metric, world), "merging two halves")


def _padding(metric: Metric) -> None:
    world = make_world()
    _same(scores(metric, pad(world)), scores(metric, world), "masked padding")


def _fold_left_out(metric: Metric) -> None:
    """Leave out the only fold in which a node fires: what remains is a dead node."""
    worlds = {TOLERANCE: fire_once(make_world(), 2), 1e-5: single(fire_once(make_world(), 2))}
    for tolerance, world in worlds.items():
        view = view_of(world, metric.needs())
        fold = int(world.fold[0])
        found = metric.score(evolve(view, keep=torch.arange(FOLDS) != fold))
        rows = [row for row in range(world.rows) if int(world.fold[row]) != fold]
        demand(found.isfinite().all(), f"scores without it are not finite: {found.tolist()}")
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
    layer = level_of(metric) == "layer"
    expected = scores(metric, world)
    _same(found, expected if layer else expected[order], "another order of the nodes")


def _unmodified(metric: Metric) -> None:
    view = view_of(make_world(), metric.needs())
    before = _snapshot(view)
    first = metric.score(view)
    kept = first.clone()
    for name, value in _snapshot(view).items():
        demand(torch.equal(value, before[name]), f"score changed {name}")
    metric.score(view)
    demand(torch.equal(first, kept), "a second call of score changed the first result")


def _snapshot(view: GroupView) -> dict[str, Tensor]:
    """Return copies of all that a metric can reach."""
    found = {f"parameter {name}": value.clone() for name, value in view.parameters.items()}
    for statistic, state in view.states.items():
        found |= {f"{statistic}: {name}": value.clone() for name, value in state.items()}
    return found


def _finite(metric: Metric, edge: Callable[[World], World]) -> None:
    try:
        found = scores(metric, edge(make_world()))
    except NotApplicableError as error:
        demand(str(error), "NotApplicableError without a reason")
        return
    demand(found.isfinite().all(), f"scores are not finite: {found.tolist()}")


def _invariant(metric: Metric, rewriting: str) -> None:
    world = make_world()
    _same(scores(metric, REWRITINGS[rewriting](world)), scores(metric, world), rewriting)


def _dead(metric: Metric) -> None:
    node = 2
    found = scores(metric, silence(make_world(), node))
    importance = found if metric.better == "high" else -found
    extreme = importance.min() if metric.dead == "worst" else importance.max()
    demand(
        importance[node] == extreme,
        f"a dead node gets {float(found[node]):g}, not the score that is {metric.dead} of "
        f"{[round(value, 6) for value in found.tolist()]}",
    )


def _changes(metric: Metric, other: Metric) -> None:
    """Ask for another result, of an ordinary layer or of one that a second weight writes too."""
    worlds = (make_world(), gated(make_world()))
    same = all(_agree(_outcome(metric, world), _outcome(other, world)) for world in worlds)
    demand(not same, "the option changes nothing on an ordinary layer")


def _outcome(metric: Metric, world: World) -> Tensor | None:
    """Return the scores, None where the metric is not applicable."""
    try:
        return scores(metric, world)
    except NotApplicableError:
        return None


def _agree(one: Tensor | None, other: Tensor | None) -> bool:
    return one is other if one is None or other is None else torch.equal(one, other)


def _named(metric: Metric, variants: Sequence[Mapping[str, Any]]) -> None:
    named = {key for options in variants for key in options}
    missing = sorted(options_of(metric).keys() - named)
    demand(not missing, f"no variant sets {', '.join(missing)}")


_CHECKS: Mapping[str, Callable[[Metric], None]] = {
    "declared statistics suffice": _declared,
    "shape, dtype and finite": _shape,
    "differs between nodes": _distinguishes,
    "repeats": _repeats,
    "order of rows": _order,
    "batching": _batching,
    "merging": _merging,
    "padding": _padding,
    "leaving out the one fold in which a node fires": _fold_left_out,
    "order of nodes": _permutation,
    "inputs unmodified": _unmodified,
}

"""The checks of a metric: all on its options as they are, some on other settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Any

import attrs

from nodelens.interfaces.metric import Metric, MetricInfo
from nodelens.plugins.specs import MetricSpec
from nodelens.testing.checks import Check
from nodelens.testing.composed import composed
from nodelens.testing.imports import check_light
from nodelens.testing.metric_checks import ON_DATA, ON_VALUES, changes, dead, finite, invariant
from nodelens.testing.metric_metadata import check_metadata, check_options_documented, options_of
from nodelens.testing.rewritings import EDGES, REWRITINGS
from nodelens.testing.variants import drawn_variants, settings_that_differ


def check_metric(
    metric: MetricSpec | type[Metric] | Metric,
    *,
    variants: Sequence[Mapping[str, Any]] = (),
    parts: Mapping[str, Metric] | None = None,
) -> list[Check]:
    """Return the checks of one metric, on its options as they are and on other settings.

    The other settings are drawn from the options, see `nodelens.testing.variants`. On these run the
    checks of values alone; the checks of how data come are run again where a setting reads other
    statistics. Every option must change a result.

    Args:
        metric: a specification, a class, or an instance with options.
        variants: more settings, such as ``[{"top": 2, "absolute": True}]``.
        parts: the metrics, by name, that the metric depends on.

    Returns:
        Named checks, each to be run by itself.

    Raises:
        ValueError: where a metric that this one depends on is missing.
    """
    instance, given = _instance(metric), parts or {}
    tried = [*drawn_variants(type(instance)), *variants] if attrs.has(type(instance)) else []
    return [
        *_described(instance),
        *_numeric(composed(instance, given), type(instance).__name__),
        *_varied(instance, tried, given),
        *_effects(instance, tried, given),
    ]


def _described(metric: Metric) -> Iterator[Check]:
    """Yield the checks of a metric's metadata and imports."""
    name = type(metric).__name__
    yield Check(f"{name}: metadata", partial(check_metadata, metric))
    yield Check(f"{name}: options documented", partial(check_options_documented, metric))
    yield Check(f"{name}: light import", partial(check_light, type(metric).__module__))


def _numeric(metric: Metric, name: str) -> Iterator[Check]:
    """Yield all checks of values, for the options as they are."""
    for what, run in {**ON_DATA, **ON_VALUES}.items():
        yield Check(f"{name}: {what}", partial(run, metric))
    for case in EDGES:
        yield Check(f"{name}: finite with {case}", partial(finite, metric, (case,)))
    yield from _claims(metric, name)


def _claims(metric: Metric, name: str) -> Iterator[Check]:
    """Yield the checks of the invariances and dead nodes that a metric's `info` claims."""
    info = getattr(metric, "info", None)
    if not isinstance(info, MetricInfo):
        return
    for rewriting in sorted(info.invariances & REWRITINGS.keys()):
        yield Check(f"{name}: invariant to {rewriting}", partial(invariant, metric, rewriting))
    if info.dead_nodes != "any":
        what = f"{name}: a dead node has the {info.dead_nodes} importance"
        yield Check(what, partial(dead, metric))


def _varied(
    metric: Metric, variants: Sequence[Mapping[str, Any]], parts: Mapping[str, Metric]
) -> Iterator[Check]:
    """Yield the checks of other settings whose outcome a setting can change."""
    seen = {*composed(metric, parts).statistics} if variants else set()
    for options in variants:
        other = composed(_with(metric, options), parts)
        name = f"{type(metric).__name__}({_words(options)})"
        checks = ON_VALUES if seen.issuperset(other.statistics) else {**ON_DATA, **ON_VALUES}
        seen.update(other.statistics)
        for what, run in checks.items():
            yield Check(f"{name}: {what}", partial(run, other))
        yield Check(f"{name}: finite in every edge case", partial(finite, other, tuple(EDGES)))
        yield from _claims(other, name)


def _effects(
    metric: Metric, variants: Sequence[Mapping[str, Any]], parts: Mapping[str, Metric]
) -> Iterator[Check]:
    """Yield one check for each option: some setting of the option changes a result."""
    for option in options_of(metric) if variants or attrs.has(type(metric)) else ():
        pairs = [
            (composed(_with(metric, one), parts), composed(_with(metric, other), parts))
            for one, other in settings_that_differ(variants, option)
        ]
        name = f"{type(metric).__name__}: option {option} changes a result"
        yield Check(name, partial(changes, pairs, option))


def _with(metric: Metric, options: Mapping[str, Any]) -> Metric:
    return type(metric)(**{**options_of(metric), **options})


def _words(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in options.items())


def _instance(metric: MetricSpec | type[Metric] | Metric) -> Metric:
    if isinstance(metric, MetricSpec):
        module, _, attribute = metric.target.partition(":")
        metric = getattr(import_module(module), attribute)
    return metric() if isinstance(metric, type) else metric  # type: ignore[return-value]

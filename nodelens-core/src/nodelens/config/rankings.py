"""What pruning methods, interventions and stopping rules rank by, checked against the metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from nodelens.config.raw import Problem
from nodelens.config.schema import Component
from nodelens.errors import ENDINGS, ConfigError, NodelensError, PluginError, did_you_mean

if TYPE_CHECKING:
    from nodelens.config.components import ComponentSource
    from nodelens.config.schema import StoppingSettings


def ranked_by(label: str, pruner: Any) -> tuple[str, ...]:
    """Return the metrics that a pruning method asks for; raises `PluginError` with its name."""
    try:
        names = pruner.metrics()
    except (NodelensError, *ENDINGS):
        raise
    except BaseException as error:
        raise PluginError(
            f"{label!r} cannot say what it ranks by: {type(error).__name__}: {error} "
            f"({type(pruner).__module__}.{type(pruner).__qualname__}.metrics)"
        ) from error
    if not isinstance(names, tuple | list) or not all(isinstance(name, str) for name in names):
        raise PluginError(f"{label!r}: metrics() must return a tuple of names, got {names!r}")
    return tuple(names)


def join_ranked(
    label: str,
    pruner: Any,
    metrics: dict[str, Any],
    source: ComponentSource,
    build: Callable[[str], Any],
) -> tuple[str, ...]:
    """Add the metrics that a pruning method ranks by to the metrics of a run; return their names.

    A name means the metric of the method's own distribution, if that has one, else the run's metric
    of that name, else the one that a plugin offers. Raises `ConfigError` where the run has another
    metric under the name that is meant.
    """
    names: list[str] = []
    for name in ranked_by(label, pruner):
        meant = source.own_name("metric", name, pruner)
        result = Component(meant).result_name
        names.append(result)
        if result not in metrics:
            try:
                metrics[result] = build(meant)
            except NodelensError as error:
                raise ConfigError([f"{label!r} ranks by {name!r}: {error}"]) from error
        elif ":" in meant and type(metrics[result]) is not source.component("metric", meant):
            raise ConfigError(
                [
                    f"{label!r} ranks by {meant}, and the run's {result!r} is another metric; give "
                    "that one another label"
                ]
            )
    return tuple(names)


def unranked(
    interventions: Mapping[str, Any], metrics: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """Yield each intervention whose option `metrics` names none of the run's, with the problem."""
    for label, intervention in interventions.items():
        for name in getattr(intervention, "metrics", None) or ():
            if name not in metrics:
                hint = did_you_mean(str(name), metrics) or "; there are none"
                yield label, f"{name!r} is not one of the run's metrics{hint}"


def unfit_to_stop(settings: StoppingSettings, metric: Any) -> str:
    """Return why the top nodes of a metric cannot decide when to stop; empty if they can."""
    name, info = settings.metric, metric.info
    if info.level == "layer":
        return f"{name!r} describes layers and ranks no nodes; name a metric of nodes"
    if info.higher_is_better is None:
        return f"{name!r} does not say which nodes to keep; name a metric that ranks them"
    if not metric.statistics and not getattr(metric, "depends_on", ()):
        return f"{name!r} reads no data, so that it is stable from the start; name another metric"
    return ""


def pair_problems(pruners: Mapping[str, Any], recoveries: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield a problem where two pairs of a method and a recovery would have one name."""
    seen: set[str] = set()
    for name in (f"{method}.{label}" for method in pruners for label in recoveries):
        if name in seen:
            words = f"two results would be called {name!r}; change a label"
            yield Problem(("recovery",), words)
        seen.add(name)

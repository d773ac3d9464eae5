"""A composite metric together with its parts, as one metric."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from attrs import evolve, frozen

from nodelens.interfaces.metric import Metric, dependencies_of, weights_of

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.interfaces.metric import MetricInfo
    from nodelens.interfaces.statistic import AnyStatistic
    from nodelens.interfaces.weight_reduction import WeightReduction
    from nodelens.scoring.view import GroupView


def composed(metric: Metric, parts: Mapping[str, Metric]) -> Metric:
    """Return a composite metric with its parts, by name, as one metric that scores alone.

    Raises `ValueError` when a part is missing.
    """
    if not dependencies_of(metric):
        return metric
    _check_parts(metric, parts)
    return cast(Metric, _Composed(metric, parts))


def _check_parts(metric: Metric, parts: Mapping[str, Metric]) -> None:
    missing = sorted(set(dependencies_of(metric)) - parts.keys())
    if missing:
        name = type(metric).__name__
        raise ValueError(f"{name} depends on {', '.join(missing)}; give parts={{...}}")
    for name in dependencies_of(metric):
        _check_parts(parts[name], parts)


@frozen(eq=False)
class _Composed:
    metric: Metric
    parts: Mapping[str, Metric]

    @property
    def info(self) -> MetricInfo:
        return self.metric.info

    @property
    def statistics(self) -> tuple[AnyStatistic[Any], ...]:
        """The statistics of the metric and its parts, each once."""
        return tuple(dict.fromkeys(self._asked(self.metric)))

    @property
    def weights(self) -> tuple[WeightReduction[Any], ...]:
        """The weight reductions of the metric and its parts, each once."""
        return tuple(dict.fromkeys(self._reduced(self.metric)))

    def _reduced(self, metric: Metric) -> Iterator[WeightReduction[Any]]:
        yield from weights_of(metric)
        for name in dependencies_of(metric):
            yield from self._reduced(self.parts[name])

    def _asked(self, metric: Metric) -> Iterator[AnyStatistic[Any]]:
        yield from metric.statistics
        for name in dependencies_of(metric):
            yield from self._asked(self.parts[name])

    def score(self, group: GroupView) -> Tensor:
        """Score a group view by the metric, after its parts."""
        return self.metric.score(evolve(group, network=evolve(group.network, metrics=self.parts)))

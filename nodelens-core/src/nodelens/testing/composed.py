"""A metric that is made of other metrics, together with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from attrs import evolve, frozen

from nodelens.interfaces.metric import Metric, level_of, uses_of

if TYPE_CHECKING:
    from typing import Literal

    from torch import Tensor

    from nodelens.interfaces.metric import Better
    from nodelens.interfaces.statistic import Statistic
    from nodelens.scoring.view import GroupView


def composed(metric: Metric, parts: Mapping[str, Metric]) -> Metric:
    """Return the metric with the others that it is made of, by name, as one that scores alone.

    Raises `ValueError` when a part is missing.
    """
    if not uses_of(metric):
        return metric
    _check_parts(metric, parts)
    return cast(Metric, _Composed(metric, parts))


def _check_parts(metric: Metric, parts: Mapping[str, Metric]) -> None:
    missing = sorted(set(uses_of(metric)) - parts.keys())
    if missing:
        raise ValueError(f"{type(metric).__name__} uses {', '.join(missing)}; give parts={{...}}")
    for name in uses_of(metric):
        _check_parts(parts[name], parts)


@frozen(eq=False)
class _Composed:
    metric: Metric
    parts: Mapping[str, Metric]

    @property
    def better(self) -> Better:
        return self.metric.better

    @property
    def invariances(self) -> frozenset[str]:
        return self.metric.invariances

    @property
    def dead(self) -> Literal["worst", "best", "any"]:
        return self.metric.dead

    @property
    def level(self) -> Literal["node", "layer"]:
        return level_of(self.metric)

    def needs(self) -> tuple[Statistic[Any], ...]:
        """All that the metric and its parts need, each statistic once."""
        return tuple(dict.fromkeys(self._asked(self.metric)))

    def _asked(self, metric: Metric) -> Iterator[Statistic[Any]]:
        yield from metric.needs()
        for name in uses_of(metric):
            yield from self._asked(self.parts[name])

    def score(self, group: GroupView) -> Tensor:
        """Score a view of a network that has the parts."""
        return self.metric.score(evolve(group, network=evolve(group.network, metrics=self.parts)))

"""The requested metrics: by name, or by patterns that take the metrics that fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from attrs import field, frozen

from nodelens.errors import ConfigError
from nodelens.interfaces.metric import Metric, dependencies_of


@frozen(eq=False)
class MetricChoice:
    """Metrics by their names in the results, with the metrics that these depend on.

    Attributes:
        metrics: all metrics, in order.
        asked: names that are requested; the others are metrics that these depend on.
        taken: names requested by a pattern alone; only these are left out where they do not fit.
        left_out: names that patterns matched and did not take, with the reasons.
    """

    metrics: Mapping[str, Metric]
    asked: tuple[str, ...]
    taken: frozenset[str] = frozenset()
    left_out: Mapping[str, str] = field(factory=dict)

    def fitting(self, misfit: Callable[[Metric], str]) -> MetricChoice:
        """Return the choice without metrics of patterns that do not fit.

        `misfit` returns the reason, or nothing. Metrics that another one depends on are kept too.
        Raises `ConfigError` where patterns left metrics out and no metric is kept.
        """
        outright = self._with_parts(set(self.asked) - self.taken)
        reasons = {name: self._reason(name, misfit) for name in self.taken - outright}
        unfit = {name: reason for name, reason in reasons.items() if reason}
        kept = self._with_parts(outright | self.taken - unfit.keys())
        metrics = {name: metric for name, metric in self.metrics.items() if name in kept}
        left_out = {**self.left_out, **unfit}
        if left_out and not metrics:
            words = "; ".join(f"{name}: {why}" for name, why in sorted(left_out.items()))
            raise ConfigError([f"metrics: nothing that the patterns match fits: {words}"])
        asked = tuple(name for name in self.asked if name in kept)
        return MetricChoice(metrics, asked, self.taken & kept, dict(sorted(left_out.items())))

    def _reason(self, name: str, misfit: Callable[[Metric], str]) -> str:
        """Return why a metric, or one that it depends on, does not fit."""
        found = (misfit(self.metrics[each]) for each in sorted(self._with_parts({name})))
        return next(filter(None, found), "")

    def _with_parts(self, names: Iterable[str]) -> set[str]:
        """Return the names of some metrics and of all that they depend on."""
        found: set[str] = set()
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting += dependencies_of(self.metrics[name])
        return found

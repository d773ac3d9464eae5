"""Metrics that combine other metrics of the run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from attrs import field, frozen, validators

from nodelens.errors import NotApplicableError
from nodelens.interfaces.metric import MetricInfo
from nodelens.scoring.shared_options import EXAMPLES
from nodelens_metrics.composites.composite_parts import (
    By,
    CompositePart,
    as_parts,
    check_names,
    comparable,
)

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.interfaces.metric import Metric
    from nodelens.scoring.view import GroupView


@frozen
class Composite:
    """Weighted mean of a node's ranks by other metrics of the run, within the group.

    Each part gets the sign with which high means "keep" and is ranked: average ranks, scaled to [0,
    1], one rank for equal values. A part's contribution to a node is this rank times the part's
    fraction of the weights. The composite is the sum of the contributions; the analysis
    `composition` shows them. Scaling by smallest and largest value is not offered: with one outlier
    all other nodes would get nearly equal values.

    Standard errors leave folds out of all parts at once. Ranks change in steps, so that the errors
    are rough in small groups. Where a part is not applicable, the composite is not either.

    Attributes:
        parts: the names of the metrics; `{name: taylor, weight: 2}` counts twice. A metric that the
            run does not name joins the run with its default options.
        by: rank, or standard for the distance from the group's mean in standard deviations, which
            keeps the distances between nodes and is sensitive to outliers.
    """

    info = MetricInfo(
        formula="Σ_p weight_p · rank_p(i) / Σ_p weight_p",
        unit="1",
        higher_is_better=True,
        source="common; mean rank (Borda count)",
    )
    statistics = ()

    parts: tuple[CompositePart | str, ...] = field(
        validator=check_names,
        metadata={
            EXAMPLES: [
                ("activation_rms", "weight_l2"),
                (CompositePart("activation_rms", 3.0), "weight_l2"),
            ]
        },
    )
    by: By = field(default="rank", validator=validators.in_(("rank", "standard")))

    @property
    def depends_on(self) -> tuple[str, ...]:
        return tuple(part.name for part in as_parts(self.parts))

    def check_dependencies(self, parts: Mapping[str, Metric]) -> list[str]:
        """Return an error for every part that ranks no nodes."""
        what = {name: _ranks_nothing(metric) for name, metric in parts.items()}
        return [
            f"{name!r} {reason} and ranks no nodes; take it out of parts"
            for name, reason in what.items()
            if reason
        ]

    def score(self, group: GroupView) -> Tensor:
        """Return the sums of the contributions.

        Raises `NotApplicableError` where a part is not applicable.
        """
        import torch

        return torch.stack(list(self.contributions(group).values())).sum(0)

    def contributions(self, group: GroupView) -> dict[str, Tensor]:
        """Return each part's contributions, ``(nodes,)`` by name; raises as `score` does."""
        parts = as_parts(self.parts)
        total = sum(part.weight for part in parts)
        return {
            part.name: part.weight / total * comparable(_importance(group, part.name), self.by)
            for part in parts
        }


def _ranks_nothing(metric: Metric) -> str:
    if metric.info.level == "layer":
        return "describes whole layers"
    return "has no direction" if metric.info.higher_is_better is None else ""


def _importance(group: GroupView, name: str) -> Tensor:
    """Return a part's values with the sign with which high means "keep"."""
    try:
        values = group.metric(name)
    except NotApplicableError as reason:
        raise NotApplicableError(f"its part {name}: {reason}") from reason
    return values if group.network.metrics[name].info.higher_is_better else -values

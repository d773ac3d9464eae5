"""Scores: values with direction, unit and standard error, and reasons for missing ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import field, frozen

from nodelens.errors import RunError, UnknownNameError, did_you_mean

if TYPE_CHECKING:
    import pandas
    from numpy.typing import NDArray

COLUMNS = ("metric", "group", "node", "value", "se", "higher_is_better", "unit")
"""The columns of a table of scores, one row per node."""


@frozen(eq=False)
class Score:
    """The values of one metric on one group, with standard errors.

    Attributes:
        metric: the name of the metric in the results.
        group: the name of the group.
        values: the values of the nodes, ``(nodes,)`` float64.
        se: the delete-one-fold jackknife standard errors, ``(nodes,)``. None for metrics of weights
            alone, which have no sampling error; for metrics of extremes, where the jackknife is
            wrong (``MetricInfo(jackknife=False)``); and where fewer than two folds hold samples.
        higher_is_better: True where high values mark the nodes worth keeping, False where low
            values do, None where the metric ranks none.
        unit: the unit of the values.
        folds: the number of folds behind `se`.
        contributions: the parts of the values that the metrics which this one depends on add,
            ``(nodes,)`` each; most metrics have none.
    """

    metric: str
    group: str
    values: NDArray[np.float64]
    higher_is_better: bool | None
    unit: str
    se: NDArray[np.float64] | None = None
    folds: int = 0
    contributions: Mapping[str, NDArray[np.float64]] = field(factory=dict)

    def interval(self, level: float = 0.95) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the ends of the confidence interval of every node.

        The interval is Student's t with folds − 1 degrees of freedom, for a jackknife over groups.

        Args:
            level: the probability that the interval covers the true value, between 0 and 1.

        Returns:
            The lower and the upper ends, ``(nodes,)`` each, in the unit of the values.

        Raises:
            UnknownNameError: for scores without a standard error.
        """
        if self.se is None:
            raise UnknownNameError(f"{self.metric!r} on {self.group!r} has no standard error")
        from scipy.stats import t

        half = float(t.ppf((1.0 + level) / 2.0, max(self.folds - 1, 1))) * self.se
        return self.values - half, self.values + half

    def importance(self) -> NDArray[np.float64]:
        """Return the values with the sign that makes high mean "keep".

        Raises `UnknownNameError` for metrics that rank no nodes.
        """
        if self.higher_is_better is None:
            raise UnknownNameError(
                f"metric {self.metric!r} describes nodes without saying which to keep; "
                "rank by another metric"
            )
        return self.values if self.higher_is_better else -self.values


@frozen(eq=False)
class Scores:
    """All scores of a run, by metric and group.

    Attributes:
        scores: the score of each node metric on each group, by ``(metric, group)``.
        skipped: the reason why there is no score, by ``(metric, group)``.
        failed: the one-line error of each metric whose code raised.
        samples: the number of calibration samples.
        layers: the scores of layer metrics, of which `values` has shape ``(1,)``.

    Example:
        ::

            scores = nodelens.score(model, data, metrics=["loss_proxy"])
            low, high = scores["loss_proxy", "0:neurons"].interval(0.95)
    """

    scores: Mapping[tuple[str, str], Score]
    skipped: Mapping[tuple[str, str], str] = field(factory=dict)
    failed: Mapping[str, str] = field(factory=dict)
    samples: int = 0
    layers: Mapping[tuple[str, str], Score] = field(factory=dict)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of node metrics, in the order of the config."""
        return tuple(dict.fromkeys(metric for metric, _ in self.scores))

    @property
    def layer_metrics(self) -> tuple[str, ...]:
        """The names of layer metrics, in the order of the config."""
        return tuple(dict.fromkeys(metric for metric, _ in self.layers))

    @property
    def groups(self) -> tuple[str, ...]:
        """Group names, in the order of the forward pass."""
        return tuple(dict.fromkeys(group for _, group in self.scores))

    def __iter__(self) -> Iterator[Score]:
        return iter(self.scores.values())

    def __len__(self) -> int:
        return len(self.scores)

    def __contains__(self, key: tuple[str, str]) -> bool:
        return key in self.scores

    def __getitem__(self, key: tuple[str, str]) -> Score:
        if key in self.scores:
            return self.scores[key]
        if key in self.layers:
            return self.layers[key]
        if key in self.skipped:
            raise UnknownNameError(f"metric {key[0]!r} on {key[1]!r}: {self.skipped[key]}")
        if not isinstance(key, tuple) or len(key) != 2:
            raise UnknownNameError(f"scores are read as scores[metric, group], got {key!r}")
        metric, group = key
        if metric in self.failed:
            raise UnknownNameError(f"metric {metric!r} failed: {self.failed[metric]}")
        if metric not in self.metrics:
            hint = did_you_mean(metric, self.metrics)
            raise UnknownNameError(f"no scores of a metric {metric!r}{hint}")
        raise UnknownNameError(f"no group {group!r}{did_you_mean(group, self.groups)}")

    def of(self, metric: str) -> dict[str, Score]:
        """Return the scores of one metric by group."""
        return {score.group: score for score in self if score.metric == metric}

    def to_dict(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Return ``{metric: {group: {values, se, higher_is_better, unit}}}`` of plain lists."""
        tree: dict[str, dict[str, dict[str, Any]]] = {}
        for score in self:
            entry = {
                "values": score.values.tolist(),
                "se": None if score.se is None else score.se.tolist(),
                "higher_is_better": score.higher_is_better,
                "unit": score.unit,
            }
            tree.setdefault(score.metric, {})[score.group] = entry
        return tree

    def rows(self) -> Iterator[tuple[str, str, int, float, float | None, bool | None, str]]:
        """Yield one row of `COLUMNS` per node and metric."""
        for score in self:
            for node, value in enumerate(score.values.tolist()):
                se = None if score.se is None else float(score.se[node])
                direction = score.higher_is_better
                yield score.metric, score.group, node, value, se, direction, score.unit

    def to_frame(self) -> pandas.DataFrame:
        """Return the rows as a pandas frame; raises `RunError` when pandas is not installed."""
        try:
            import pandas
        except ImportError as error:
            raise RunError("pandas is not installed; pip install nodelens-core[frames]") from error
        return pandas.DataFrame(self.rows(), columns=COLUMNS)

    def save(self, path: str | Path) -> None:
        """Write everything to one safetensors file, atomically."""
        from nodelens.scoring.scores_file import write_scores

        write_scores(Path(path), self)

    @classmethod
    def load(cls, path: str | Path) -> Scores:
        """Return the scores in a file from `save`; raises `RunError` for any other file."""
        from nodelens.scoring.scores_file import read_fields

        return cls(**read_fields(Path(path), Score))

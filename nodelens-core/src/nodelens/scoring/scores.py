"""Scores: values with direction, unit and standard error, and reasons for missing ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import field, frozen

from nodelens.channels.groups import SINGLE_QUERY_HEADS
from nodelens.errors import RunError, UnknownNameError, did_you_mean

if TYPE_CHECKING:
    import pandas
    from numpy.typing import NDArray

_WIDER = 4.0

COLUMNS = ("metric", "group", "node", "value", "se", "higher_is_better", "unit")
"""The columns of a table of scores, one row per node."""


@frozen(eq=False)
class Score:
    """The values of one metric on one group, with standard errors.

    Attributes:
        metric: the name of the metric in the results.
        group: the name of the group.
        values: the values of the nodes, ``(nodes,)`` float64.
        se: the delete-one-fold jackknife standard errors, ``(nodes,)``; None where there are none
            that an interval could be made of.
        higher_is_better: True where high values mark the nodes worth keeping, False where low
            values do, None where the metric ranks none.
        unit: the unit of the values.
        folds: the number of folds behind `se`.
        no_interval: the reason where `se` is None.
        heavy_tails: whether few rows may make most of a value (``MetricInfo.heavy_tails``).
        warnings: what there is to say of the errors, such as a bias that is larger.
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
    no_interval: str = ""
    heavy_tails: bool = False
    warnings: tuple[str, ...] = ()
    contributions: Mapping[str, NDArray[np.float64]] = field(factory=dict)

    def interval(self, level: float = 0.95) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the ends of the confidence interval of every node.

        The interval is Student's t with folds − 1 degrees of freedom, for a jackknife over groups.
        With heavy tails it is 1 + 4 / √(effective rows) times as wide: rows that have not been met
        are missing in the value and in its error alike. The factor 4 was found on real activations.

        Args:
            level: the probability that the interval covers the true value, between 0 and 1.

        Returns:
            The lower and the upper ends, ``(nodes,)`` each, in the unit of the values.

        Raises:
            UnknownNameError: for scores without a standard error, with the reason.
        """
        if self.se is None:
            why = f": {self.no_interval}" if self.no_interval else ""
            raise UnknownNameError(f"{self.metric!r} on {self.group!r} has no interval{why}")
        from scipy.stats import t

        half = float(t.ppf((1.0 + level) / 2.0, max(self.folds - 1, 1))) * self.se
        if self.heavy_tails:
            half = half * (1.0 + _WIDER / np.sqrt(np.maximum(self.effective_rows(), 1.0)))
        return self.values - half, self.values + half

    def effective_rows(self) -> NDArray[np.float64]:
        """Return the effective number of rows, (value / se)², ``(nodes,)``.

        For a sum of positive terms: (Σr)² / Σr² where few rows r make most of it, which that many
        equal rows would give. Infinite where there is no error, or an error of 0.
        """
        if self.se is None:
            return np.full(self.values.shape, np.inf)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.se > 0.0, np.square(self.values / self.se), np.inf)

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

    @property
    def whole_groups(self) -> tuple[str, ...]:
        """Group names without those whose nodes are parts of another group's: single query heads.

        For all that counts the nodes of several groups together.
        """
        return tuple(name for name in self.groups if f":{SINGLE_QUERY_HEADS}" not in name)

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
        """Return ``{metric: {group: {values, se, no_interval, higher_is_better, unit}}}``.

        All are plain lists and words; `se` is None where there is none, for the reason given.
        """
        tree: dict[str, dict[str, dict[str, Any]]] = {}
        for score in self:
            entry = {
                "values": score.values.tolist(),
                "se": None if score.se is None else score.se.tolist(),
                "no_interval": score.no_interval,
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

    def told(self) -> list[str]:
        """Return the warnings of all scores, one line for each kind with its first score."""
        found: dict[str, list[tuple[Score, str]]] = {}
        for score in (*self, *self.layers.values()):
            for warning in score.warnings:
                found.setdefault(warning.partition(" at ")[0], []).append((score, warning))
        return [_told(scores) for scores in found.values()]

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


def _told(found: list[tuple[Score, str]]) -> str:
    (first, warning), *others = found
    line = f"metric {first.metric}, {first.group}: {warning}"
    if not others:
        return line
    names = dict.fromkeys(score.metric for score, _ in others)
    few = ", ".join([*names][:5]) + (", …" if len(names) > 5 else "")
    return f"{line} (and {len(others)} more scores, of {few})"

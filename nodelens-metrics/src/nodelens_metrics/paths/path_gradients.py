"""Statistic of gradients at every node along a path from a baseline to the data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from attrs import define, field, frozen, validators

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.capture.batches import Batch
    from nodelens.interfaces.statistic import Layout, Reading, State, Visit

PathTarget = Literal["log_likelihood", "logit"]
"""Function F to explain: minus the loss of a row, or its label's logit, summed over positions."""

_FIELDS = ("conductance", "magnitude", "influence")


@frozen(eq=False)
class PathSummary:
    """Means over rows of path integrals, ``(nodes,)`` float64, and of F(x) − F(x₀), `change`.

    `conductance` is Σ_t ∫ ∂F/∂a · da, `magnitude` its absolute value by row, `influence` is
    Σ_t ∫ ∂F/∂a dα.
    """

    rows: Tensor
    change: Tensor
    conductance: Tensor
    magnitude: Tensor
    influence: Tensor


@frozen
class PathGradients:
    """Conductance and influence of all nodes of all groups at once.

    Between two points of the path a node's part of the change of F is the mean gradient at the two
    times the change of the node (trapezoidal rule): exact where F is quadratic in the node, so
    between two kinks of a network of ReLUs; else the error falls with 1/steps².

    Attributes:
        steps: number of points on the path, 2 or more; one gradient each.
        baseline: start of the path: zeros, or every row's own mean.
        target: F, the function to explain.
    """

    steps: int = field(default=20, validator=validators.ge(2))
    baseline: Literal["zero", "mean"] = field(
        default="zero", validator=validators.in_(("zero", "mean"))
    )
    target: PathTarget = field(
        default="log_likelihood", validator=validators.in_(("log_likelihood", "logit"))
    )
    reads: ClassVar[Literal["model"]] = "model"

    @property
    def passes(self) -> str:
        """Number of passes of the statistic through the model."""
        return f"{self.steps} gradients along a path from {self.baseline}"

    def floats(self, layout: Layout) -> int:
        """Three sums per node and fold, two numbers per fold."""
        return layout.folds * (len(_FIELDS) * layout.width + 2)

    def start(self, layout: Layout) -> State:
        from nodelens.statistics.rows import zeros

        fields = {name: zeros(layout, layout.width) for name in _FIELDS}
        return {"rows": zeros(layout), "change": zeros(layout), **fields}

    def visit(self, visit: Visit, states: dict[str, State]) -> None:
        """Add the path integrals of every row."""
        points = _points(self, visit, list(states))
        readings, first = next(points)
        totals = {name: _Integral(readings[name]) for name in states}
        last = first
        for readings, last in points:  # noqa: B007 - the last point is the data itself
            for name, total in totals.items():
                total.add(readings[name])
        for name, total in totals.items():
            state = states[name]
            state["rows"][visit.fold] += total.rows
            state["change"][visit.fold] += (last - first).sum()
            for part, rows in zip(_FIELDS, total.by_row(self.steps), strict=True):
                state[part][visit.fold] += rows.sum(0)

    def merge(self, state: State, other: State) -> None:
        from nodelens.statistics.rows import add_fields

        add_fields(state, other)

    def summary(self, state: State, keep: Tensor) -> PathSummary:
        """Return the means over rows of the kept folds."""
        rows, change = state["rows"][keep].sum().clamp(min=1.0), state["change"][keep].sum()
        return PathSummary(
            rows, change / rows, *(state[name][keep].sum(0) / rows for name in _FIELDS)
        )


@define(eq=False)
class _Integral:
    """Trapezoidal sums of one group, ``(rows, nodes)``, up to the `last` point."""

    last: Reading
    conductance: Tensor = field(init=False)
    influence: Tensor = field(init=False)

    def __attrs_post_init__(self) -> None:
        import torch

        rows, _, width = self.last.values.shape
        nodes = width // self.last.components
        self.conductance = self.last.values.new_zeros(rows, nodes, dtype=torch.float64)
        self.influence = self.conductance.clone()

    @property
    def rows(self) -> int:
        """Number of rows with a position that counts."""
        valid = self.last.valid
        return len(self.conductance) if valid is None else int(valid.any(1).sum())

    def add(self, reading: Reading) -> None:
        """Go on to the next point."""
        from nodelens.statistics.rows import over_components, row_sum, upcast

        assert reading.gradient is not None and self.last.gradient is not None
        mean = (upcast(self.last.gradient) + upcast(reading.gradient)) / 2
        change = upcast(reading.values) - upcast(self.last.values)
        components = reading.components
        self.conductance += over_components(row_sum(mean * change), components)
        self.influence += over_components(row_sum(mean), components)
        self.last = reading

    def by_row(self, steps: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the values to be summed over rows, in the order of `_FIELDS`."""
        return self.conductance, self.conductance.abs(), self.influence / (steps - 1)


def _points(
    path: PathGradients, visit: Visit, groups: list[str]
) -> Iterator[tuple[dict[str, Reading], Tensor]]:
    """Yield the readings of every group, and F by row, from the baseline to the data.

    Raises `CaptureError` where a gradient before the end of the path overflows: at zeros the norms
    of a language model multiply the gradient by hundreds in every layer. A gradient that is not
    finite at the data either is reported as such.
    """
    from nodelens.errors import CaptureError, NotFiniteError
    from nodelens_metrics.paths.baselines import at_point
    from nodelens_metrics.paths.site_reader import reading

    def explained(output: Any, batch: Batch) -> Tensor:
        if path.target == "logit":
            return _logits(visit, output, batch)
        losses: Tensor = visit.loss(output, batch)
        return -losses

    with reading(visit.model, visit.graph, groups, explained) as reader:
        for point in range(path.steps):
            fraction = point / (path.steps - 1)
            try:
                with at_point(visit.model, visit.batch, fraction, path.baseline) as batch:
                    found = reader.read(batch)
            except NotFiniteError as error:
                reader.read(visit.batch)
                other = "mean" if path.baseline == "zero" else "zero"
                raise CaptureError(
                    f"at {fraction:.0%} of the path from {path.baseline} to the data, "
                    f"{str(error).partition(';')[0]}; at the data all is finite: try "
                    f"`baseline: {other}` for conductance and influence"
                ) from error
            yield found


def _logits(visit: Visit, output: Any, batch: Batch) -> Tensor:
    """Return the logits of the labels, summed over the positions of a row, ``(rows,)``."""
    from nodelens.capture.losses import logits_by
    from nodelens.errors import DataError
    from nodelens.interfaces.statistic import IGNORED

    targets = batch.targets
    if targets is None:
        raise DataError("the logits of the labels need labels: give (inputs, targets) batches")
    logits = logits_by(visit.loss, output, batch)
    counted = targets != IGNORED
    if batch.mask is not None and batch.mask.shape == targets.shape:
        counted = counted & batch.mask
    chosen = logits.gather(-1, targets.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    return (chosen * counted).reshape(len(logits), -1).sum(1)

"""Statistic of the Hessian's diagonal, summed over the slices of each node."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal

from attrs import field, frozen, validators

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from torch import Tensor

    from nodelens.capture.batches import Batch
    from nodelens.interfaces.statistic import Layout, State, Visit

    Parameters = Mapping[str, Tensor]

SPAN = 512
"""Number of consecutive rows of the data that have one set of probes, within a fold."""


@frozen(eq=False)
class TraceSummary:
    """Sums of h, or of h·θ², over a node's parameters, by role, ``(roles, nodes)`` float64.

    h is the diagonal of the matrix of the mean loss of a row; the order of roles is that of
    `nodelens_metrics.curvature.parameter_slices.ROLES`.
    """

    rows: Tensor
    diagonal: Tensor


@frozen
class Traces:
    """Hutchinson's estimate of the Hessian's diagonal, E[z∘Hz] with z of random signs.

    One product with the matrix serves all nodes of all groups. The signs depend on the position of
    the rows in the data and on their fold, not on batching. Every fold has signs of its own, so
    that the standard errors from leaving out folds include the noise of the probes.

    Attributes:
        matrix: the Hessian, or its Gauss–Newton part, which is never negative.
        weighted: take z∘θ for z, which gives h·θ². The noise is then equal for all scalings of the
            weights that leave the network's function unchanged.
        probes: random vectors for each run of rows, 1 or more.
    """

    matrix: Literal["hessian", "gauss_newton"] = field(
        default="hessian", validator=validators.in_(("hessian", "gauss_newton"))
    )
    weighted: bool = False
    probes: int = field(default=1, validator=validators.ge(1))
    reads: ClassVar[Literal["model"]] = "model"
    random: ClassVar[bool] = True

    @property
    def passes(self) -> str:
        """Number of passes of the statistic through the model."""
        product = "Hessian" if self.matrix == "hessian" else "Gauss–Newton matrix"
        weighted = ", weighted" if self.weighted else ""
        return f"1 gradient, and {self.probes} products with the {product}{weighted}"

    def floats(self, layout: Layout) -> int:
        """One sum per role, node and fold, one count per fold."""
        from nodelens_metrics.curvature.parameter_slices import ROLES

        return layout.folds * (len(ROLES) * layout.width + 1)

    def start(self, layout: Layout) -> State:
        """Return empty sums."""
        from nodelens.statistics.rows import zeros
        from nodelens_metrics.curvature.parameter_slices import ROLES

        return {"rows": zeros(layout), "diagonal": zeros(layout, len(ROLES), layout.width)}

    def visit(self, visit: Visit, states: dict[str, State]) -> None:
        """Add z∘Hz of the rows."""
        from nodelens_metrics.curvature.parameter_slices import (
            by_role,
            counted_rows,
            differentiable,
            owned,
        )

        groups = [visit.graph[name] for name in states]
        parameters = owned(visit.model, visit.graph, groups)
        with differentiable(parameters, visit.graph.computed) as substitution:
            diagonal = self._diagonal(visit, parameters)
        substitution.mark_missed(diagonal)
        for group in groups:
            state = states[group.name]
            total = by_role(group, visit.model, diagonal)
            state["rows"][visit.fold] += counted_rows(visit.batch)
            state["diagonal"][visit.fold] += total.to(state["diagonal"].device)

    def _diagonal(self, visit: Visit, parameters: Parameters) -> dict[str, Tensor]:
        """Return z∘Hz by parameter, the mean over probes."""
        import torch

        from nodelens.statistics.rows import upcast
        from nodelens_metrics.curvature.hessian_products import product_with

        values = [*parameters.values()]
        diagonal = {name: upcast(torch.zeros_like(each)) for name, each in parameters.items()}
        for run, batch in _runs(visit.batch):
            product = product_with(self.matrix, visit.model, batch, visit.loss, values)
            for probe in range(self.probes):
                vector = self._probe((visit.seed, visit.fold, run, probe), parameters)
                for (name, z), hz in zip(vector.items(), product([*vector.values()]), strict=True):
                    diagonal[name].addcmul_(upcast(z), upcast(hz))
        return {name: total / self.probes for name, total in diagonal.items()}

    def _probe(self, place: tuple[int, ...], parameters: Parameters) -> dict[str, Tensor]:
        """Return a random sign, or a value with a random sign, for every parameter's values."""
        signs = self._signs(place, parameters)
        if not self.weighted:
            return signs
        return {name: sign * parameters[name].detach() for name, sign in signs.items()}

    def _signs(self, place: tuple[int, ...], parameters: Parameters) -> dict[str, Tensor]:
        from nodelens.seeding import generator

        seed, *where = place
        return {
            name: _signs(each, generator(seed, "traces", *where, name))
            for name, each in parameters.items()
        }

    def merge(self, state: State, other: State) -> None:
        """Add the sums."""
        from nodelens.statistics.rows import add_fields

        add_fields(state, other)

    def summary(self, state: State, keep: Tensor) -> TraceSummary:
        """Return the means over rows of the kept folds."""
        rows = state["rows"][keep].sum().clamp(min=1.0)
        return TraceSummary(rows, state["diagonal"][keep].sum(0) / rows)


def _runs(batch: Batch) -> Iterator[tuple[int, Batch]]:
    """Yield the rows of each run of the data, with its number."""
    runs = batch.numbers // SPAN
    for run in sorted(set(runs.tolist())):
        yield run, batch.rows_where(runs == run)


def _signs(parameter: Tensor, random: torch.Generator) -> Tensor:
    """Return a random sign for every value of a parameter, one from each of 64 random bits."""
    import torch

    count, ends = parameter.numel(), torch.iinfo(torch.int64)
    drawn = torch.randint(ends.min, ends.max, (count // 64 + 1,), generator=random)
    bits = torch.arange(256).unsqueeze(1) >> torch.arange(8) & 1
    signs = (bits * 2 - 1).to(parameter.dtype)
    found = signs.index_select(0, drawn.view(torch.uint8).int()).flatten()[:count]
    return found.view_as(parameter).to(parameter.device)

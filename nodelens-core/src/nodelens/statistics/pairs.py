"""Second moments between the nodes of a group and the nodes of the next group."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from attrs import frozen

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.interfaces.statistic import Layout, Need, Reading, ReadPoint, State


@frozen(eq=False)
class CrossSummary:
    """Moments of two groups on the same samples, float64; each component counts as a node.

    `mean` and `variance` are ``(nodes,)``, `other_mean` and `other_variance` ``(others,)``, the
    population `covariance` is ``(nodes, others)``. Entries of constant nodes are exactly 0.
    `within`, ``(nodes, components, components)``, are the covariances between the components of one
    node, `other_within` those of the other group's nodes.
    """

    count: Tensor
    mean: Tensor
    other_mean: Tensor
    covariance: Tensor
    variance: Tensor
    other_variance: Tensor
    within: Tensor
    other_within: Tensor

    @property
    def correlation(self) -> Tensor:
        """Pearson correlations, ``(nodes, others)``, zero with a constant."""
        scale = self.variance.sqrt().unsqueeze(-1) * self.other_variance.sqrt()
        return (self.covariance / scale.where(scale > 0, 1.0)).clamp(-1.0, 1.0)


@frozen
class CrossGram:
    """Sums of products between a group and the next one (block B11).

    Samples are positions where both groups have the same positions, else row means: the positions
    of a pooled layer are not those of the layer before. Products are taken in the precision of the
    activation and summed in float64.
    """

    reads: ClassVar[ReadPoint] = "pair"
    requires: ClassVar[frozenset[Need]] = frozenset({"quadratic"})

    def floats(self, layout: Layout) -> int:
        from nodelens.statistics.cross_products import floats_of_sides

        sides = floats_of_sides(layout, layout.others, layout.other_components)
        return sides + layout.width + layout.others

    def start(self, layout: Layout) -> State:
        from nodelens.statistics.cross_products import start_sides

        return start_sides(layout, layout.others, layout.other_components)

    def update(self, state: State, reading: Reading) -> None:
        import torch
        from attrs import evolve

        from nodelens.statistics.cross_products import add_sides
        from nodelens.statistics.rows import mean_of, upcast

        assert reading.partner is not None
        if "pivot" not in state:
            partner = evolve(reading, values=reading.partner)
            state["pivot"] = torch.cat([mean_of(reading), mean_of(partner)])
        left, right = upcast(reading.values), upcast(reading.partner)
        here, there = state["pivot"].tensor_split([left.shape[-1]])
        left, right = left - here.to(left), right - there.to(right)
        counted = reading.valid
        if counted is None:
            counted = torch.ones(left.shape[:2], dtype=torch.bool, device=left.device)
        add_sides(state, left, right.to(left), counted, reading.fold)

    def merge(self, state: State, other: State) -> None:
        from nodelens.statistics.cross_products import merge_sides

        merge_sides(state, other)

    def summary(self, state: State, keep: Tensor) -> CrossSummary:
        from nodelens.statistics.cross_products import sides_of

        found = sides_of(state, keep)
        return CrossSummary(
            found.count,
            found.mean,
            found.other_mean,
            found.covariance,
            found.variance,
            found.other_variance,
            found.within,
            found.other_within,
        )

"""Second moments between nodes: covariance and correlation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen, validators

from nodelens.renamed_arguments import renamed_arguments

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.interfaces.statistic import Layout, Need, Reading, ReadPoint, State
    from nodelens.statistics.quantities import Quantity
    from nodelens.statistics.triangle import Triangle


@frozen(eq=False)
class GramSummary:
    """Population covariance as a `Triangle`, ``(size,)`` float64, and mean, ``(nodes,)``.

    Each component of a node has a row and a column of its own, as if it were a node.

    Entries of constant nodes are exactly 0. The square matrices, ``(nodes, nodes)``, are made at
    each access. For the input of a grouped convolution all have a leading axis of blocks:
    ``(blocks, size)``, ``(blocks, features)``, ``(blocks, features, features)``.
    """

    count: Tensor
    mean: Tensor
    packed: Tensor

    @property
    def covariance(self) -> Tensor:
        """The covariance of all pairs, ``(nodes, nodes)``."""
        return self._triangle.whole(self.packed)

    @property
    def variance(self) -> Tensor:
        """The diagonal of the covariance, ``(nodes,)``."""
        return self._triangle.diagonal(self.packed)

    @property
    def _triangle(self) -> Triangle:
        from nodelens.statistics.triangle import Triangle

        return Triangle(self.mean.shape[-1])

    @property
    def second_moment(self) -> Tensor:
        """E[aaᵀ], ``(nodes, nodes)``: the covariance and the products of the means."""
        return self.covariance + self.mean.unsqueeze(-1) * self.mean.unsqueeze(-2)

    @property
    def correlation(self) -> Tensor:
        """Pearson correlations ``(nodes, nodes)``: one on the diagonal, zero with a constant."""
        std = self.variance.sqrt()
        scale = std.where(std > 0, std.new_tensor(1.0))
        rho = self.covariance / (scale.unsqueeze(-1) * scale.unsqueeze(-2))
        rho = rho.clamp(-1.0, 1.0)
        rho.diagonal(dim1=-2, dim2=-1).fill_(1.0)
        return rho


@renamed_arguments(tap="reads", tokens="position_fraction")
@frozen
class Gram:
    """Sums of products of all pairs of nodes (blocks B6, B7, B8 and B15, by `reads` and `of`).

    Nodes of several components have products of all pairs of components: the matrix is ``(nodes ·
    components)`` wide, except of gates, which are one number of a node. Values are taken about a
    pivot. Products are taken in the precision of the activation and summed in float64.

    Attributes:
        reads: the read point; at the input, a grouped convolution has one matrix per block.
        of: what is multiplied.
        position_fraction: the fraction of all positions that are used, chosen by their number in
            the data.
    """

    reads: ReadPoint = "activation"
    of: Quantity = "value"
    position_fraction: float = field(
        default=1.0, validator=(validators.gt(0.0), validators.le(1.0))
    )

    @property
    def requires(self) -> frozenset[Need]:
        from nodelens.statistics.quantities import needs_of

        return needs_of(self.of) | {"quadratic"}

    def floats(self, layout: Layout) -> int:
        features = self._features(layout)
        each = layout.blocks * (_triangle(features).size + 2 * features)
        return layout.folds * (each + 1) + layout.blocks * features

    def start(self, layout: Layout) -> State:
        from nodelens.statistics.rows import zeros

        features = self._features(layout)
        return {
            "count": zeros(layout),
            "s1": zeros(layout, layout.blocks, features),
            "square": zeros(layout, layout.blocks, features),
            "s2": zeros(layout, layout.blocks, _triangle(features).size),
        }

    def _features(self, layout: Layout) -> int:
        """Return the width of the matrix of a block."""
        from nodelens.statistics.quantities import width_of

        return width_of(layout, self.of) // layout.blocks

    def update(self, state: State, reading: Reading) -> None:
        import torch

        from nodelens.statistics.quantities import counted_samples, pivot_for, quantity_of

        values, pivot = quantity_of(reading, self.of), pivot_for(state, reading, self.of)
        counted = counted_samples(reading, values.shape[1], self.position_fraction)
        folds = torch.unique(reading.fold).tolist()
        for fold in folds:
            rows = reading.fold == fold if len(folds) > 1 else slice(None)
            samples = _about(pivot, values[rows], None if counted is None else counted[rows])
            blocked = samples.view(len(samples), *state["s1"].shape[1:])
            state["count"][fold] += len(samples)
            _add_vectors(state["s1"][fold], state["square"][fold], blocked)
            _triangle_of(state).add_products(state["s2"][fold], blocked.movedim(-2, 0))

    def merge(self, state: State, other: State) -> None:
        from nodelens.statistics.rows import common_pivot

        if "pivot" not in other:
            return
        shift = common_pivot(state, other, "count").view(state["s1"].shape[1:])
        names = ("count", "s1", "square", "s2")
        n, s1, square, s2 = (other[name].to(shift.device) for name in names)
        n = n[:, None, None]
        triangle = _triangle_of(state)
        state["count"] += n.flatten()
        state["s2"] += s2
        triangle.add_outer(state["s2"], s1, shift.expand_as(s1))
        triangle.add_outer(state["s2"], shift.expand_as(s1), s1 + n * shift)
        state["square"] += square + 2 * shift * s1 + n * shift.square()
        state["s1"] += s1 + n * shift

    def summary(self, state: State, keep: Tensor) -> GramSummary:
        from nodelens.statistics.rows import mean_about, resolved, varies

        count = state["count"][keep].sum().clamp(min=1.0)
        d1, square, packed = (state[name][keep].sum(0) / count for name in ("s1", "square", "s2"))
        triangle = _triangle_of(state)
        triangle.add_outer(packed, -d1, d1)
        pivot = state["pivot"].view_as(d1) if "pivot" in state else d1 * 0
        mean = mean_about(pivot, d1)
        triangle.silence(packed, varies(resolved(square - d1.square(), square), mean))
        if len(mean) == 1:
            mean, packed = mean[0], packed[0]
        return GramSummary(count, mean, packed)


def _about(pivot: Tensor, values: Tensor, counted: Tensor | None) -> Tensor:
    """Return the counted samples minus the pivot, ``(samples, nodes)``, in their precision."""
    from nodelens.statistics.rows import upcast

    chosen = upcast(values.flatten(0, 1) if counted is None else values[counted])
    return chosen - pivot.to(chosen.dtype)


def _add_vectors(total: Tensor, squares: Tensor, samples: Tensor) -> None:
    """Add the sums and the sums of squares of ``(samples, …)`` in float64, some at a time."""
    import torch

    from nodelens.statistics.sums import copied
    from nodelens.statistics.sweeps import chunk_on

    fitting = chunk_on(samples.device) // 4  # as float64, with room for the samples and the sums
    for some in torch.split(samples, max(1, fitting // total.numel())):
        d = copied(some)
        total += d.sum(0)
        squares += d.square_().sum(0)


def _triangle(width: int) -> Triangle:
    from nodelens.statistics.triangle import Triangle

    return Triangle(width)


def _triangle_of(state: State) -> Triangle:
    return _triangle(state["s1"].shape[-1])

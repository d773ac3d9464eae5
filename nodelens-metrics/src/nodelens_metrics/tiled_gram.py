"""Second moments between nodes that are read in tiles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from attrs import frozen

from nodelens.statistics.gram import Gram

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.statistics.contract import Layout, Need, Place, Reading, State


@frozen(eq=False)
class TiledGramSummary:
    """Population covariance as a `Triangle`, ``(size,)`` float64, and mean, ``(nodes,)``.

    Entries of constant nodes are exactly 0. The square matrices, which `GramSummary` has as well,
    are made when they are asked for, each time anew.
    """

    count: Tensor
    mean: Tensor
    packed: Tensor

    @property
    def variance(self) -> Tensor:
        """The diagonal of the covariance, ``(nodes,)``."""
        import torch

        from nodelens.statistics.triangle import Triangle

        blocks = Triangle(len(self.mean)).blocks(self.packed)
        return torch.cat([block[columns].diagonal() for _, columns, block in blocks])

    @property
    def covariance(self) -> Tensor:
        """Covariances, ``(nodes, nodes)``."""
        from nodelens.statistics.triangle import Triangle

        return Triangle(len(self.mean)).whole(self.packed)

    @property
    def second_moment(self) -> Tensor:
        """E[aaᵀ], ``(nodes, nodes)``."""
        return self.covariance + self.mean.unsqueeze(-1) * self.mean.unsqueeze(-2)

    @property
    def correlation(self) -> Tensor:
        """Pearson correlations ``(nodes, nodes)``: one on the diagonal, zero with a constant."""
        from nodelens.statistics.gram import GramSummary

        return GramSummary(self.count, self.mean, self.covariance).correlation


@frozen
class TiledGram:
    """The sums of `Gram`, whose place it takes, with a summary that holds no square matrix."""

    tap: ClassVar[Place] = "activation"
    requires: ClassVar[frozenset[Need]] = frozenset({"quadratic"})

    def covers(self, other: Any) -> bool:  # noqa: ANN401 - any statistic
        """Return whether the summary answers for `other`: the whole Gram of activations."""
        return bool(other == Gram())

    def floats(self, layout: Layout) -> int:
        """As many as the Gram."""
        return Gram().floats(layout)

    def start(self, layout: Layout) -> State:
        """Return empty sums."""
        return Gram().start(layout)

    def update(self, state: State, reading: Reading) -> None:
        """Add the products of one reading."""
        Gram().update(state, reading)

    def merge(self, state: State, other: State) -> None:
        """Add `other` into `state`."""
        Gram().merge(state, other)

    def summary(self, state: State, keep: Tensor) -> TiledGramSummary:
        """Return mean and covariance over the kept folds."""
        return tiled_summary(state, keep)


def tiled_summary(state: State, keep: Tensor) -> TiledGramSummary:
    """Return what a `Gram` of activations has added up, without making the square of it."""
    from nodelens.statistics.rows import mean_about, resolved
    from nodelens.statistics.triangle import Triangle

    count = state["count"][keep].sum().clamp(min=1.0)
    d1, square, packed = (state[name][keep].sum(0)[0] for name in ("s1", "square", "s2"))
    d1, square = d1 / count, square / count
    triangle = Triangle(len(d1))
    packed /= count
    triangle.add_outer(packed, -d1, d1)
    live = (resolved(square - d1.square(), square) > 0).double()
    for rows, columns, block in triangle.blocks(packed):
        block *= live[rows, None]
        block *= live[None, columns]
    pivot = state["pivot"] if "pivot" in state else d1 * 0
    return TiledGramSummary(count, mean_about(pivot, d1), packed)

"""First-order loss changes of zeroing a node, from gradients of the activations.

g = dL/da of the loss summed over rows and positions, with the labels of the data; q = a·g at one
position; Q_n = Σ_t q over the positions of row n, the gradient of row n's loss at a gate that
multiplies what all consumers of the node read. The path of a residual stream around the consumers
is not part of g. At a minimum of the loss E[q] is near 0, so the signed first order is small. All
but `GradientNorm` give 0 for a dead node.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from nodelens.interfaces.metric import MetricInfo
from nodelens.statistics.gradients import GradientMoments, RowGradients

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.scoring.view import GroupView


@frozen
class Taylor:
    """Squared first-order loss change of zeroing a node, mean over rows.

    One gradient per row: the "full gradient" (FG) variant of the source. Its batch variant squares
    the gradient of a whole batch and so depends on the batch size. `taylor_weights` is the
    criterion at the weights in place of a gate.
    """

    info = MetricInfo(
        formula="mean_n Q_n²",
        unit="loss²",
        higher_is_better=True,
        source=(
            "Molchanov et al. 2019, Importance Estimation for Neural Network Pruning, 1906.10771, "
            "Taylor FO at a gate, FG"
        ),
        dead_nodes="lowest",
        invariances=frozenset({"functional", "incoming_scale"}),
        heavy_tails=True,
    )
    statistics = (RowGradients(),)

    def score(self, group: GroupView) -> Tensor:
        return group[RowGradients()].q2


@frozen
class Taylor2016:
    """Absolute first-order loss change of zeroing a node, positions of a row averaged first.

    A position of row n counts 1/T_n, so that long and short rows have equal weight.

    Attributes:
        normalise: divide by the L2 norm over the layer, as published, so that layers can be ranked
            together; else the unit is the loss's.
    """

    info = MetricInfo(
        formula="mean_n |mean_t q_nt|, divided by its L2 norm over the layer",
        unit="1",
        higher_is_better=True,
        source=(
            "Molchanov et al. 2017, Pruning Convolutional Neural Networks for Resource Efficient "
            "Inference, 1611.06440, Taylor criterion and layer-wise normalisation"
        ),
        dead_nodes="lowest",
        invariances=frozenset({"functional", "incoming_scale"}),
    )
    statistics = (RowGradients(),)

    normalise: bool = True

    def score(self, group: GroupView) -> Tensor:
        from nodelens_metrics.mathematics.arithmetic import ratio

        change = group[RowGradients()].abs_mean_q
        return ratio(change, change.norm()) if self.normalise else change


@frozen
class TokenTaylor:
    """Mean absolute first-order loss change of zeroing a node at one position.

    Positions of opposite sign do not cancel, unlike in `taylor_2016`.
    """

    info = MetricInfo(
        formula="E|q|",
        unit="loss",
        higher_is_better=True,
        source="Cherilyn & Safaai 2026, 2604.23475, first-order baseline",
        dead_nodes="lowest",
        invariances=frozenset({"functional", "incoming_scale"}),
    )
    statistics = (GradientMoments(centred=False),)

    def score(self, group: GroupView) -> Tensor:
        return group[GradientMoments(centred=False)].abs_q


@frozen
class FirstOrder:
    """Signed first-order loss change of zeroing a node, mean over rows.

    Negative where zeroing lowers the loss. Rows of opposite sign cancel, unlike in
    `attribution_patching`.
    """

    info = MetricInfo(
        formula="−mean_n Q_n",
        unit="loss",
        higher_is_better=True,
        source="attribution patching: Syed et al. 2023, 2310.10348",
        invariances=frozenset({"functional", "incoming_scale"}),
    )
    statistics = (RowGradients(),)

    def score(self, group: GroupView) -> Tensor:
        return -group[RowGradients()].q


@frozen
class AttributionPatching:
    """Absolute first-order loss change of zeroing a node in one row, mean over rows.

    The source patches in the node's activation on another prompt. Here the baseline is zero, as in
    removal: no pairs of rows are needed and their order has no effect. For the mean as baseline see
    `mean_ablation_first_order` (signed) and `mean_ablation_fisher`.
    """

    info = MetricInfo(
        formula="mean_n |Q_n|",
        unit="loss",
        higher_is_better=True,
        source=(
            "Kramár et al. 2024, AtP*, 2403.00745, the contribution c(n) = E|I(n)| of a node by "
            "plain "
            "attribution patching, I = (n(noise) − n(clean)) · ∂L/∂n, with zeros for the noise "
            "prompt; "
            "equations as an implementation quotes them, the paper was not at hand"
        ),
        dead_nodes="lowest",
        invariances=frozenset({"functional", "incoming_scale"}),
    )
    statistics = (RowGradients(),)

    def score(self, group: GroupView) -> Tensor:
        return group[RowGradients()].abs_q


@frozen
class Snip:
    """Absolute gradient of the mean loss by a gate that multiplies a node (SNIP).

    SNIP scores connections; here the connection is the node itself. The value is |E q|, not E|q|:
    rows of opposite sign cancel, so that a trained network gives little more than noise. Meant for
    networks at initialisation.

    Attributes:
        normalise: divide by the sum over all nodes of the network that are read, as published.
    """

    info = MetricInfo(
        formula="|mean_n Q_n|; normalised: divided by its sum over the network",
        unit="loss",
        higher_is_better=True,
        source=(
            "Lee et al. 2019, SNIP, 1810.02340, connection sensitivity |∂L/∂c| at c = 1; nodes in "
            "place of weights"
        ),
        dead_nodes="lowest",
        invariances=frozenset({"functional", "incoming_scale"}),
    )
    statistics = (RowGradients(),)

    normalise: bool = False

    def score(self, group: GroupView) -> Tensor:
        import torch

        from nodelens_metrics.mathematics.arithmetic import ratio

        change = group[RowGradients()].q.abs()
        if not self.normalise:
            return change
        total = [view[RowGradients()].q.abs().sum() for view in _read_groups(group)]
        return ratio(change, torch.stack(total).sum())


@frozen
class GradientNorm:
    """Root mean square gradient of the loss at a node.

    Measures how much the loss reacts to a change of the node, not whether the node is active: a
    dead node can score high. Scaling the activation scales the score inversely.
    """

    info = MetricInfo(
        formula="(E g²)^½; of components c: (Σ_c E g_c²)^½",
        unit="loss / activation",
        higher_is_better=True,
        invariances=frozenset({"activation_scale", "activation_shift", "incoming_scale"}),
    )
    statistics = (GradientMoments(centred=False),)

    def score(self, group: GroupView) -> Tensor:
        return group.total(group[GradientMoments(centred=False)].g2).sqrt()


def _read_groups(group: GroupView) -> list[GroupView]:
    """Return all groups of the network whose gradients are read, over the same folds."""
    states = group.network.states
    names = [each.name for each in group.network.graph or () if not each.part_of]
    return [group.view_of(name) for name in names if RowGradients() in states.get(name, {})]

"""Magnitudes of a node's weights by slice, absolute and relative to the other nodes.

A slice is a node's part of one parameter. Biases are left out. No data is read: a dead ReLU is not
noticed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from attrs import field, frozen, validators

from nodelens.errors import NotApplicableError
from nodelens.interfaces.metric import MetricInfo
from nodelens.weights.row_sums import RowSums

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from nodelens.scoring.view import GroupView
    from nodelens.weights.row_sums import Of

_UNSEEN = frozenset({"activation_scale", "activation_shift"})


@frozen
class GatedMagnitude:
    """Sum of the norms of every weight that writes or reads a node.

    For a gated unit: the norm of its gate row, plus that of its up row, plus that of its down
    column. Unlike in one norm over all weights, a small weight does not vanish beside a large one.

    Attributes:
        norm: l1, l2, or linf for the largest weight.
    """

    info = MetricInfo(
        formula="Σ_W ‖W[i]‖ over weights W; gated unit: ‖gate_i‖ + ‖up_i‖ + ‖down_i‖",
        unit="weight",
        higher_is_better=True,
        invariances=_UNSEEN,
    )
    statistics = ()

    norm: Literal["l1", "l2", "linf"] = field(
        default="l2", validator=validators.in_(("l1", "l2", "linf"))
    )

    def score(self, group: GroupView) -> Tensor:
        import torch

        parts = torch.stack(group[self._sums].by_slice)
        return (parts.sqrt() if self.norm == "l2" else parts).sum(0)

    @property
    def weights(self) -> tuple[RowSums, ...]:
        return (self._sums,)

    @property
    def _sums(self) -> RowSums:
        of: dict[str, Of] = {"l1": "abs", "l2": "square", "linf": "largest"}
        return RowSums(of[self.norm], "either")


@frozen
class BNScale:
    """Absolute scale that a normalisation layer multiplies a node with.

    Several normalisations of the same nodes (a residual stream) are averaged. Meant for networks
    that were trained with an L1 penalty on the scales (network slimming).
    """

    info = MetricInfo(
        formula="|γ_i|",
        unit="weight",
        higher_is_better=True,
        source=(
            "Liu et al. 2017, Learning Efficient Convolutional Networks through Network Slimming, "
            "1708.06519"
        ),
        invariances=_UNSEEN | {"incoming_scale"},
    )
    statistics = ()
    weights = (RowSums("abs", "carrier"),)

    def score(self, group: GroupView) -> Tensor:
        import torch

        sizes = _scales(group, "abs")
        found = [each.mean(1) for name, each in sizes if group.parameters[name].ndim == 1]
        if not found:
            raise NotApplicableError("no normalisation with a scale follows these nodes")
        return torch.stack(found).mean(0)


@frozen
class GroupNorm:
    """Mean squared norm of a node's slices over all weights, relative to the group's mean.

    Slices are the weights that write and read the node, scales of normalisations and depthwise
    kernels: all that is removed with the node, except biases. As the published code has it by
    default: sums of |w|ᵖ per slice, the mean over slices, divided by the mean over the nodes.

    Attributes:
        power: p; 2 for squares, 1 for absolute weights.
        normalise: divide by the mean over the nodes, so that 1 is ordinary in every group.
    """

    info = MetricInfo(
        formula="mean_W ‖W[i]‖ₚᵖ, divided by its mean over the nodes",
        unit="1",
        higher_is_better=True,
        source=(
            "Fang et al. 2023, DepGraph, 2301.12900; Torch-Pruning, GroupNormImportance(p=2, "
            "group_reduction=mean, normalizer=mean)"
        ),
        invariances=_UNSEEN,
    )
    statistics = ()

    power: Literal[1, 2] = field(default=2, validator=validators.in_((1, 2)))
    normalise: bool = True

    def score(self, group: GroupView) -> Tensor:
        import torch

        from nodelens_metrics.mathematics.arithmetic import ratio

        scales = [each.sum(1) for _, each in _scales(group, self._of)]
        norm = torch.stack([*group[RowSums(self._of, "either")].by_slice, *scales]).mean(0)
        return ratio(norm, norm.mean()) if self.normalise else norm

    @property
    def weights(self) -> tuple[RowSums, ...]:
        return RowSums(self._of, "either"), RowSums(self._of, "carrier")

    @property
    def _of(self) -> Of:
        return "square" if self.power == 2 else "abs"


@frozen
class LAMP:
    """LAMP score: a node's fraction of the squared weights of all nodes at least as large.

    The published score is of single weights; this is the version for nodes, on the squared L2 norm
    of their weights. 1 for the largest node, so that global pruning keeps one node of every group.
    Equal nodes get equal scores, unlike in the published code, which sorts them. 0 for nodes
    without weights.

    Attributes:
        of: ``incoming`` for the weights that write a node, ``group`` for those that read it too.
    """

    info = MetricInfo(
        formula="‖w_i‖² / Σ_j ‖w_j‖² over j with ‖w_j‖ ≥ ‖w_i‖",
        unit="1",
        higher_is_better=True,
        source=(
            "Lee et al. 2021, Layer-Adaptive Sparsity for the Magnitude-based Pruning, 2010.07611, "
            "the "
            "LAMP score, with nodes in place of weights"
        ),
        invariances=_UNSEEN,
    )
    statistics = ()

    of: Literal["incoming", "group"] = field(
        default="incoming", validator=validators.in_(("incoming", "group"))
    )

    def score(self, group: GroupView) -> Tensor:
        import torch

        from nodelens_metrics.mathematics.arithmetic import ratio

        size = group[self._squares].total
        ordered = size.sort().values
        at_least = ordered.flip(0).cumsum(0).flip(0)
        return ratio(size, at_least[torch.searchsorted(ordered, size)])

    @property
    def weights(self) -> tuple[RowSums, ...]:
        return (self._squares,)

    @property
    def _squares(self) -> RowSums:
        return RowSums("square", "producer" if self.of == "incoming" else "either")


def _scales(group: GroupView, of: Of) -> Iterator[tuple[str, Tensor]]:
    """Yield the carriers that multiply: scales of normalisations and depthwise kernels.

    Each by its name, with its sums ``(nodes, rows)``. The slope of a PReLU is one for each node
    too, but it only scales what is negative.
    """
    from torch.nn import PReLU

    for (parameter, _, _), sums in group[RowSums(of, "carrier")].rows.items():
        module, _, name = parameter.rpartition(".")
        if name == "weight" and not isinstance(group.network.modules.get(module), PReLU):
            yield parameter, sums

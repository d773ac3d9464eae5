"""Magnitudes of a node's weights by slice, absolute and relative to the other nodes.

A slice is a node's part of one parameter. Biases are left out. No data is read: a dead ReLU is not
noticed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from attrs import field, frozen, validators

from nodelens.errors import NotApplicableError
from nodelens.interfaces.metric import MetricInfo

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.channels.groups import ParameterSlice
    from nodelens.scoring.view import GroupView

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

        order = {"l1": 1.0, "l2": 2.0, "linf": float("inf")}[self.norm]
        norms = [torch.linalg.vector_norm(part, order, dim=1) for part in _weights(group)]
        return torch.stack(norms).sum(0)


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

    def score(self, group: GroupView) -> Tensor:
        import torch

        parts = [p for p in _scales(group) if group.parameters[p.parameter].ndim == 1]
        if not parts:
            raise NotApplicableError("no normalisation with a scale follows these nodes")
        return torch.stack([group.slice_of(part).abs().mean(1) for part in parts]).mean(0)


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

        slices = [*_weights(group), *(group.slice_of(part) for part in _scales(group))]
        norm = torch.stack([part.abs().pow(self.power).sum(1) for part in slices]).mean(0)
        return ratio(norm, norm.mean()) if self.normalise else norm


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

        weights = [group.incoming()] if self.of == "incoming" else _weights(group)
        size = torch.stack([part.square().sum(1) for part in weights]).sum(0)
        ordered = size.sort().values
        at_least = ordered.flip(0).cumsum(0).flip(0)
        return ratio(size, at_least[torch.searchsorted(ordered, size)])


def _weights(group: GroupView) -> list[Tensor]:
    """Return the slices of all weights that write or read the nodes, ``(nodes, …)`` each."""
    weights = group.weights()
    if not weights:
        raise NotApplicableError("no weight writes or reads these nodes")
    return weights


def _scales(group: GroupView) -> list[ParameterSlice]:
    """Return the carriers that multiply: scales of normalisations and depthwise kernels.

    The slope of a PReLU is one for each node too, but it only scales what is negative.
    """
    from torch.nn import PReLU

    modules = group.network.modules
    scales = []
    for part in group.group.weights("carrier"):
        module, _, name = part.parameter.rpartition(".")
        if name == "weight" and not isinstance(modules.get(module), PReLU):
            scales.append(part)
    return scales

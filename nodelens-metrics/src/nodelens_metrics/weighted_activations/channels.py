"""Scores of single weights from weight and activation norm, summed over a node's weights.

The methods rank single weights; these are their versions for nodes. Norms are root mean squares
over positions without padding. x_j is the input of a producer's weights (for a convolution its
patches), a_i the activation that consumers read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen, validators

from nodelens.errors import NotApplicableError
from nodelens.interfaces.metric import MetricInfo
from nodelens.statistics.moments import Moments
from nodelens.weights.row_sums import RowSums

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.channels.groups import ParameterSlice
    from nodelens.scoring.view import GroupView

_INPUT = Moments(reads="input")


@frozen
class WandaChannel:
    """Sum of the Wanda scores of all weights that write or read a node.

    For a gated unit: its gate row and its up row, each weight times the norm of its input, plus its
    down column times the norm of the node. A dead node keeps the scores of its producers.
    """

    info = MetricInfo(
        formula="Σ_W Σ_j |W_ij|·‖x_j‖ + Σ_c Σ_o |W_oc|·‖a_c‖ over producers W and components c",
        unit="weight · activation",
        higher_is_better=True,
        source=(
            "Sun et al. 2024, Wanda, 2306.11695, |W|·‖X‖ for a weight; summed over a node's weights"
        ),
        invariances=frozenset({"functional"}),
        heavy_tails=True,
    )
    statistics = (Moments(), _INPUT)
    weights = (RowSums("abs"),)

    def score(self, group: GroupView) -> Tensor:
        score = group.total(_read(group) * group[Moments()].rms)
        parts = group.group.weights("producer")
        if not parts:
            raise NotApplicableError("no parameter writes these nodes")
        for part in parts:
            score = score + _written(group, part)
        return score


@frozen
class RIA:
    """Sum of the RIA scores (relative importance and activation) of a node's outgoing weights.

    Each weight counts by its fraction of the weights of its output and of its input, so that no
    output loses all of its inputs. 0 for dead nodes and for nodes that nothing reads.

    Attributes:
        power: the exponent of the activation norm.
    """

    info = MetricInfo(
        formula=(
            "Σ_c Σ_o (|W_oc| / Σ_j |W_oj| + |W_oc| / Σ_p |W_pc|) · ‖a_c‖^power over components c"
        ),
        unit="activation^½",
        higher_is_better=True,
        source=(
            "Zhang et al. 2024, Plug-and-Play: An Efficient Post-training Pruning Method for Large "
            "Language Models, ICLR 2024, and its repository; summed over the weights that read a "
            "node"
        ),
        dead_nodes="lowest",
        invariances=frozenset({"incoming_scale"}),
        heavy_tails=True,
    )
    statistics = (Moments(),)

    power: float = field(default=0.5, validator=(validators.ge(0.0), validators.le(1.0)))

    def score(self, group: GroupView) -> Tensor:
        import torch

        parts = group.group.weights("consumer")
        if not parts:
            raise NotApplicableError("no parameter reads these nodes")
        sums = torch.stack([_relative(group, part) for part in parts]).sum(0)
        rms = group[Moments()].rms
        return group.total(sums * rms.pow(self.power).masked_fill(rms == 0, 0.0))


@frozen
class DaSS:
    """Sum of the DaSS scores of all weights that write or read a gated unit.

    Weights that write the unit count by the norm of the unit itself, not of its input, to the power
    of one half; weights that read it as in Wanda. The two parts have different units, and their
    balance depends on the scale of the activations: the paper compares weights within one matrix
    only. 0 for dead nodes.

    Attributes:
        power: the exponent of the activation norm for the weights that write the unit.
    """

    info = MetricInfo(
        name="dass",
        formula=(
            "Σ_W Σ_j |W_ij| · ‖a_i‖^power + Σ_c Σ_o |W_oc|·‖a_c‖ over producers W and components "
            "c, ‖a_i‖² = Σ_c ‖a_c‖²"
        ),
        unit="weight · activation",
        higher_is_better=True,
        source=(
            "Guo et al. 2024, Dependency-Aware Semi-Structured Sparsity, 2405.01943, and its "
            "repository; summed over a node's weights"
        ),
        dead_nodes="lowest",
        heavy_tails=True,
    )
    statistics = (Moments(),)
    weights = (RowSums("abs"), RowSums("abs", "producer"))

    power: float = field(default=0.5, validator=(validators.ge(0.0), validators.le(1.0)))

    def score(self, group: GroupView) -> Tensor:
        moments = group[Moments()]
        size = group.total(moments.mean_square).sqrt()
        gain = size.pow(self.power).masked_fill(size == 0, 0.0)
        written = group[RowSums("abs", "producer")].total
        return written * gain + group.total(_read(group) * moments.rms)


def _read(group: GroupView) -> Tensor:
    """Return Σ_o |W_oc| of every component, ``(nodes · components,)``."""
    return group[RowSums("abs")].of_components(group.components).total


def _written(group: GroupView, part: ParameterSlice) -> Tensor:
    """Return Σ_j |W_ij|·‖x_j‖ of one weight that writes the nodes, ``(nodes,)``."""
    norms = group.at_module(_INPUT, part.module).rms
    weight = group.parameters[part.parameter].detach().abs().double()
    rows = weight.movedim(part.axis, 0).flatten(1)
    runs = norms.view(-1, rows.shape[1])
    read = runs.repeat_interleave(len(rows) // len(runs), dim=0)
    return part.extent.nodes_first((rows * read).sum(1), 0).sum(1)


def _relative(group: GroupView, part: ParameterSlice) -> Tensor:
    """Return the relative importance of one weight that reads the nodes, by component.

    Inputs are features: the positions of a kernel count apart, and the channels of a grouped
    convolution are read by their own outputs. The fractions of an input over its outputs add up to
    1.
    """
    from nodelens_metrics.mathematics.arithmetic import ratio
    from nodelens_metrics.mathematics.connections import by_node, connections

    size = connections(group, part)
    by_output = ratio(size, size.sum((2, 3), keepdim=True)).sum(1)
    by_input = (size.sum(1) > 0).double()
    found = by_node(part, (by_output + by_input).sum(-1))
    if group.components == 1:
        return found.sum(1)
    if found.shape[1] != group.components:
        raise NotApplicableError(f"{part.parameter} reads a node by other numbers than components")
    return found.flatten()

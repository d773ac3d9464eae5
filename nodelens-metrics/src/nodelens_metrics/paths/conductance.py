"""Metrics along a path from a baseline to the data: integrated gradients inside a network.

The network is run at many points between a blank input and the data; the gradients at every node
are integrated along the path, for all nodes of all layers at once. Where the gradient at the data
vanishes (a saturated output, a perfect fit), the gradients along the path do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from attrs import field, frozen, validators

from nodelens.errors import NotApplicableError
from nodelens.interfaces.metric import MetricInfo
from nodelens_metrics.mathematics import options
from nodelens_metrics.paths.path_gradients import PathGradients, PathTarget

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.scoring.view import GroupView

_TARGETS = validators.in_(("log_likelihood", "logit"))


@frozen
class Conductance:
    """Conductance of a node: integrated gradients of the output that pass through the node.

    F is the model's output for the label. Complete: over the nodes of a layer that everything
    passes through the conductances sum to F(x) − F(x₀), up to the error of the quadrature. It falls
    with 1/steps², and `conductance_completeness` measures it. Positive where the node raises F. 0
    for dead nodes and for nodes that are constant along the path.

    Attributes:
        target: F, ``log_likelihood`` (minus the loss) or ``logit`` (of the label).
        absolute: mean of the absolute value of a row, so that rows do not cancel.
    """

    info = MetricInfo(
        formula="mean_n Σ_t ∫₀¹ ∂F/∂a(α) · da/dα dα, along x₀ + α(x − x₀)",
        unit="loss",
        higher_is_better=True,
        source=(
            "Dhamdhere et al. 2019, How Important Is a Neuron?, 1805.12233, conductance; "
            "differences "
            "of activations in place of da/dα: Shrikumar et al. 2018, 1807.09946; integrated "
            "gradients: Sundararajan et al. 2017, 1703.01365. The papers were not at hand; checked "
            "against captum's LayerConductance, which its tests check against the first one's "
            "procedure"
        ),
        invariances=frozenset({"activation_shift", "functional", "incoming_scale"}),
    )

    steps: int = options.steps()
    baseline: Literal["zero", "mean"] = options.baseline()
    target: PathTarget = field(default="log_likelihood", validator=_TARGETS)
    absolute: bool = False

    @property
    def statistics(self) -> tuple[Any, ...]:
        return (PathGradients(self.steps, self.baseline, self.target),)

    def score(self, group: GroupView) -> Tensor:
        found = group[PathGradients(self.steps, self.baseline, self.target)]
        return found.magnitude if self.absolute else found.conductance


@frozen
class ConductanceCompleteness:
    """Sum of a layer's conductances as a fraction of the output change along the path.

    1 minus the error of the quadrature where everything passes through the layer: take more steps
    where the value is far from 1. Paths around the layer are missing. 0 where F is equal at
    baseline and data. Not defined for nodes that are read at several places of the network, as in a
    residual
    stream: each place may carry the whole.

    Attributes:
        target: F, ``log_likelihood`` (minus the loss) or ``logit`` (of the label).
    """

    info = MetricInfo(
        formula="Σ conductances / mean_n (F(x) − F(x₀))",
        unit="1",
        higher_is_better=None,
        source=(
            "completeness: Sundararajan et al. 2017, 1703.01365; Dhamdhere et al. 2019, 1805.12233"
        ),
        invariances=frozenset({"activation_shift", "functional", "incoming_scale"}),
        level="layer",
    )

    steps: int = options.steps()
    baseline: Literal["zero", "mean"] = options.baseline()
    target: PathTarget = field(default="log_likelihood", validator=_TARGETS)

    @property
    def statistics(self) -> tuple[Any, ...]:
        return (PathGradients(self.steps, self.baseline, self.target),)

    def score(self, group: GroupView) -> Tensor:
        from nodelens_metrics.mathematics.arithmetic import ratio

        places = len(group.group.at("activation"))
        if places > 1:
            raise NotApplicableError(f"the nodes are read at {places} places of the network")
        found = group[PathGradients(self.steps, self.baseline, self.target)]
        return ratio(found.conductance.sum(), found.change).view(1)


@frozen
class InternalInfluence:
    """Mean gradient at a node along a path from a baseline to the data.

    F is the model's output for the label. Unlike in conductance the gradient is not multiplied by
    the change of the node, so that a dead node may have influence. Signed, so that nodes are not
    ranked.

    Attributes:
        target: F, ``log_likelihood`` (minus the loss) or ``logit`` (of the label).
    """

    info = MetricInfo(
        formula="mean_n Σ_t ∫₀¹ ∂F/∂a(α) dα, along x₀ + α(x − x₀)",
        unit="loss / activation",
        higher_is_better=None,
        source=(
            "Leino et al. 2018, Influence-Directed Explanations, 1802.03788, with the path as the "
            "distribution of interest, as in captum's InternalInfluence"
        ),
        invariances=frozenset({"activation_shift", "incoming_scale"}),
    )

    steps: int = options.steps()
    baseline: Literal["zero", "mean"] = options.baseline()
    target: PathTarget = field(default="log_likelihood", validator=_TARGETS)

    @property
    def statistics(self) -> tuple[Any, ...]:
        return (PathGradients(self.steps, self.baseline, self.target),)

    def score(self, group: GroupView) -> Tensor:
        return group[PathGradients(self.steps, self.baseline, self.target)].influence

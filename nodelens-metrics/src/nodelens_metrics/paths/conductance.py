"""What a node contributes along a path from a baseline to the data: integrated gradients inside.

The network is run at many points between a blank input and the real one; the gradients at every
node on the way are added up, for all nodes of all layers at once. Where the straight gradient is
flat (a saturated output, a perfect fit) the path is not.
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
    """Part of F(x) − F(x₀) that flows through a node: F is what the model says of the label.

    Complete: over the nodes of a layer that everything passes through the parts sum to the whole,
    up to the error of the quadrature, which falls with 1/steps² and which
    `conductance_completeness` shows. Positive where the node speaks for the label. 0 for dead nodes
    and for those that are the same all along the path.

    Attributes:
        target: ``log_likelihood``, minus the loss, or ``logit``, that of the label.
        absolute: mean of the absolute value by row, so that rows do not cancel.
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
    """Share of F(x) − F(x₀) that the conductances of a layer's nodes sum to.

    1 less the error of the quadrature where everything passes through the layer: take more steps
    where it is far from 1. What flows past the layer is missing. 0 where the model says the same of
    baseline and data. Not defined for nodes that are read at several places of the network, as in a
    residual stream: each of them may carry the whole.

    Attributes:
        target: ``log_likelihood``, minus the loss, or ``logit``, that of the label.
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

    How F, what the model says of the label, answers to the node on the way; unlike conductance it
    does not ask whether the node changes there, so that a dead node may have some. Signed, and it
    ranks nothing.

    Attributes:
        target: ``log_likelihood``, minus the loss, or ``logit``, that of the label.
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

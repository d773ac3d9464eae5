"""What a node contributes along a path from a baseline to the data: integrated gradients inside.

The network is run at many points between a blank input and the real one; the gradients at every
node on the way are added up, for all nodes of all layers at once. Where the straight gradient is
flat (a saturated output, a perfect fit) the path is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from attrs import field, frozen, validators

from nodelens.errors import NotApplicableError
from nodelens_metrics.passes.path import PathGradients, Target

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.interfaces.metric import Better
    from nodelens.scoring.view import GroupView

_STEPS = validators.ge(2)
_BASELINES = validators.in_(("zero", "mean"))
_TARGETS = validators.in_(("log_likelihood", "logit"))


@frozen
class Conductance:
    """The part of F(x) − F(x₀) that flows through a node: F is what the model says of the label.

    Complete: over the nodes of a layer that everything passes through the parts sum to the whole,
    up to the error of the quadrature, which falls with 1/steps² and which
    `conductance_completeness` shows. Positive where the node speaks for the label. 0 for dead nodes
    and for those that are the same all along the path.

    Attributes:
        steps: points of the path, 2 or more; one gradient each.
        baseline: ``zero``, or ``mean``: every image's mean colour, every text's mean embedding.
        target: ``log_likelihood``, minus the loss, or ``logit``, that of the label.
        absolute: mean of the absolute value by row, so that rows do not cancel.
    """

    steps: int = field(default=20, validator=_STEPS)
    baseline: Literal["zero", "mean"] = field(default="zero", validator=_BASELINES)
    target: Target = field(default="log_likelihood", validator=_TARGETS)
    absolute: bool = False
    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "loss"
    formula: ClassVar[str] = "mean_n Σ_t ∫₀¹ ∂F/∂a(α) · da/dα dα, along x₀ + α(x − x₀)"
    source: ClassVar[str] = (
        "Dhamdhere et al. 2019, How Important Is a Neuron?, 1805.12233, conductance; differences "
        "of activations in place of da/dα: Shrikumar et al. 2018, 1807.09946; integrated "
        "gradients: Sundararajan et al. 2017, 1703.01365. The papers were not at hand; checked "
        "against captum's LayerConductance, which its tests check against the first one's procedure"
    )
    invariances: ClassVar[frozenset[str]] = frozenset(
        {"activation_shift", "functional", "incoming_scale"}
    )
    dead: ClassVar[Literal["worst", "best", "any"]] = "any"

    def needs(self) -> tuple[Any, ...]:
        """Gradients along a path."""
        return (PathGradients(self.steps, self.baseline, self.target),)

    def score(self, group: GroupView) -> Tensor:
        """Return the conductances."""
        found = group[PathGradients(self.steps, self.baseline, self.target)]
        return found.magnitude if self.absolute else found.conductance


@frozen
class ConductanceCompleteness:
    """The share of F(x) − F(x₀) that the conductances of a layer's nodes sum to.

    1 less the error of the quadrature where everything passes through the layer: take more steps
    where it is far from 1. What flows past the layer is missing. 0 where the model says the same of
    baseline and data. Not defined for nodes that are read at several places of the network, as in a
    residual stream: each of them may carry the whole.

    Attributes:
        steps: points of the path, 2 or more; one gradient each.
        baseline: ``zero``, or ``mean``: every image's mean colour, every text's mean embedding.
        target: ``log_likelihood``, minus the loss, or ``logit``, that of the label.
    """

    steps: int = field(default=20, validator=_STEPS)
    baseline: Literal["zero", "mean"] = field(default="zero", validator=_BASELINES)
    target: Target = field(default="log_likelihood", validator=_TARGETS)
    level: ClassVar[Literal["node", "layer"]] = "layer"
    better: ClassVar[Better] = "neither"
    unit: ClassVar[str] = "1"
    formula: ClassVar[str] = "Σ conductances / mean_n (F(x) − F(x₀))"
    source: ClassVar[str] = (
        "completeness: Sundararajan et al. 2017, 1703.01365; Dhamdhere et al. 2019, 1805.12233"
    )
    invariances: ClassVar[frozenset[str]] = frozenset(
        {"activation_shift", "functional", "incoming_scale"}
    )
    dead: ClassVar[Literal["worst", "best", "any"]] = "any"

    def needs(self) -> tuple[Any, ...]:
        """Gradients along a path."""
        return (PathGradients(self.steps, self.baseline, self.target),)

    def score(self, group: GroupView) -> Tensor:
        """Return the share; raises `NotApplicableError` where nodes are read at several places."""
        from nodelens_metrics.arithmetic import ratio

        places = len(group.group.at("activation"))
        if places > 1:
            raise NotApplicableError(f"the nodes are read at {places} places of the network")
        found = group[PathGradients(self.steps, self.baseline, self.target)]
        return ratio(found.conductance.sum(), found.change).view(1)


@frozen
class InternalInfluence:
    """The mean gradient at a node along a path from a baseline to the data.

    How F, what the model says of the label, answers to the node on the way; unlike conductance it
    does not ask whether the node changes there, so that a dead node may have some. Signed, and it
    ranks nothing.

    Attributes:
        steps: points of the path, 2 or more; one gradient each.
        baseline: ``zero``, or ``mean``: every image's mean colour, every text's mean embedding.
        target: ``log_likelihood``, minus the loss, or ``logit``, that of the label.
    """

    steps: int = field(default=20, validator=_STEPS)
    baseline: Literal["zero", "mean"] = field(default="zero", validator=_BASELINES)
    target: Target = field(default="log_likelihood", validator=_TARGETS)
    better: ClassVar[Better] = "neither"
    unit: ClassVar[str] = "loss / activation"
    formula: ClassVar[str] = "mean_n Σ_t ∫₀¹ ∂F/∂a(α) dα, along x₀ + α(x − x₀)"
    source: ClassVar[str] = (
        "Leino et al. 2018, Influence-Directed Explanations, 1802.03788, with the path as the "
        "distribution of interest, as in captum's InternalInfluence"
    )
    invariances: ClassVar[frozenset[str]] = frozenset({"activation_shift", "incoming_scale"})
    dead: ClassVar[Literal["worst", "best", "any"]] = "any"

    def needs(self) -> tuple[Any, ...]:
        """Gradients along a path."""
        return (PathGradients(self.steps, self.baseline, self.target),)

    def score(self, group: GroupView) -> Tensor:
        """Return the influences."""
        return group[PathGradients(self.steps, self.baseline, self.target)].influence

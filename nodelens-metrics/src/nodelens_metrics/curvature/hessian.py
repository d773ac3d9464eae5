"""Metrics of the loss's curvature along the parameters of a node, from the Hessian.

The model is run again after the streaming pass, for products of random vectors and the Hessian. The
Gauss–Newton matrix leaves out the curvature of the network itself; it is never negative and, for a
cross-entropy, the true Fisher matrix of the weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from attrs import field, frozen, validators

from nodelens.errors import NotApplicableError
from nodelens.interfaces.metric import MetricInfo
from nodelens.scoring.shared_options import option
from nodelens_metrics.curvature.gradient_flow import GradientFlow, GradientSum
from nodelens_metrics.curvature.traces import Traces

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.scoring.view import GroupView

Slices = Literal["all", "producer", "consumer", "carrier"]
"""Roles of the parameters that count: producers, consumers, or carriers (bias, scale)."""

_MATRICES = validators.in_(("hessian", "gauss_newton"))
_SLICES = validators.in_(("all", "producer", "consumer", "carrier"))


@frozen
class HessianTrace:
    """Trace of the loss's Hessian over a node's own parameters: sharpness of the loss.

    An unbiased estimate, with the noise of its probes in the standard error. The trace of the
    Hessian may be negative where the model has not converged. 0 for a dead ReLU.

    Attributes:
        matrix: ``hessian`` or ``gauss_newton``.
        slices: ``all``, or ``producer``, ``consumer`` or ``carrier`` alone.
        probes: random vectors for every 512 rows of the data and fold.
    """

    info = MetricInfo(
        formula="Σ_{w of the node} h_ww = E_z[Σ z∘Hz], z of random signs",
        unit="loss / weight²",
        higher_is_better=True,
        source=(
            "Hutchinson 1990, trace estimator; as a criterion for channels: Yu et al. 2022, "
            "Hessian-Aware Pruning, 2101.08940, which also weighs it by the norm of the weights"
        ),
    )

    matrix: Literal["hessian", "gauss_newton"] = field(default="hessian", validator=_MATRICES)
    slices: Slices = field(default="all", validator=_SLICES)
    probes: int = field(default=8, validator=validators.ge(1))

    @property
    def statistics(self) -> tuple[Any, ...]:
        return (self._diagonal,)

    def score(self, group: GroupView) -> Tensor:
        return _chosen(group[self._diagonal].diagonal, self.slices)

    @property
    def _diagonal(self) -> Traces:
        return Traces(self.matrix, weighted=False, probes=self.probes)


@frozen
class OBD:
    """Loss change of deleting a node's own parameters, from the Hessian's diagonal (OBD).

    Optimal brain damage, summed over the parameters of a node as if they were independent. The
    gradient is taken as 0, as at a minimum. 0 for a dead ReLU.

    Attributes:
        matrix: ``hessian``, as published, or ``gauss_newton``, which is never negative.
        slices: ``all``, or ``producer``, ``consumer`` or ``carrier`` alone.
        probes: random vectors for every 512 rows of the data and fold.
    """

    info = MetricInfo(
        formula="½ Σ_{w of the node} h_ww w²",
        unit="loss",
        higher_is_better=True,
        source=(
            "LeCun et al. 1989, Optimal Brain Damage, saliency h_kk u_k² / 2; diagonal by random "
            "signs "
            "in place of the exact recursion"
        ),
        invariances=frozenset({"functional", "incoming_scale"}),
    )

    matrix: Literal["hessian", "gauss_newton"] = field(default="hessian", validator=_MATRICES)
    slices: Slices = option("all", _SLICES, examples=["producer", "consumer"])
    probes: int = field(default=8, validator=validators.ge(1))

    @property
    def statistics(self) -> tuple[Any, ...]:
        return (self._diagonal,)

    def score(self, group: GroupView) -> Tensor:
        return 0.5 * _chosen(group[self._diagonal].diagonal, self.slices)

    @property
    def _diagonal(self) -> Traces:
        return Traces(self.matrix, weighted=True, probes=self.probes)


@frozen
class GraSP:
    """First-order change of the gradient flow when a node's weights are deleted (GraSP).

    Large where deletion raises the norm of the gradient; the source removes such weights first.
    Gradient and Hessian are of the mean loss over all rows, by all weights that write or read
    nodes. Biases and the scales of normalisations are left out, as in the source, and the
    temperature that its code divides the logits by is 1. Meant for networks at initialisation:
    where the loss is at a minimum, gradient and score are 0. 0 for a dead ReLU.

    Attributes:
        slices: ``all`` weights of a node, or ``producer`` or ``consumer`` alone.
    """

    info = MetricInfo(
        name="grasp",
        formula="−Σ_{w of the node} w (Hg)_w",
        unit="loss² / weight²",
        higher_is_better=False,
        source=(
            "Wang et al. 2020, Picking Winning Tickets Before Training by Preserving Gradient "
            "Flow, "
            "2002.07376, S = −θ∘Hg, and its code; summed over a node's weights"
        ),
    )
    statistics = (GradientSum(), GradientFlow())

    slices: Literal["all", "producer", "consumer"] = field(
        default="all", validator=validators.in_(("all", "producer", "consumer"))
    )

    def score(self, group: GroupView) -> Tensor:
        return -_chosen(group[GradientFlow()].product, self.slices)


def _chosen(by_role: Tensor, slices: str) -> Tensor:
    """Return the sums over all roles, or over one role, ``(nodes,)``."""
    from nodelens_metrics.curvature.parameter_slices import ROLES

    found = by_role.sum(0) if slices == "all" else by_role[ROLES.index(slices)]
    if bool(found.isnan().any()):
        raise NotApplicableError("a weight is computed where no variable can take its place")
    return found

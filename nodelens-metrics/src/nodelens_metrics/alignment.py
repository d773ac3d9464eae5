"""How a node's incoming weights are aligned with what comes in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from attrs import frozen

from nodelens.errors import NotApplicableError
from nodelens.statistics.moments import Moments

if TYPE_CHECKING:
    from typing import Literal

    from torch import Tensor

    from nodelens.scoring.contract import Better
    from nodelens.scoring.view import GroupView
    from nodelens.statistics.contract import Statistic

_PREACTIVATION = Moments(tap="preactivation")


@frozen
class RayleighQuotient:
    """The input variance along a node's weights: wᵀΣw / wᵀw, Σ the covariance of what it reads.

    Read as Var(y)/‖w‖² from the pre-activation y = wᵀx + b, which is the same number without the
    covariance; for a convolution Σ is that of its patches, zero padding included. 0 where the
    weights are zero. Needs exactly one weight tensor that writes the nodes, one row per node.

    Attributes:
        relative: divide by the mean over the layer, so that 1 is ordinary in every layer.
    """

    relative: bool = False
    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "input²"
    formula: ClassVar[str] = "wᵀΣw / wᵀw = Var(y) / ‖w‖²"
    source: ClassVar[str] = "Safaai et al. 2026, 2605.07086; Rayleigh quotient"
    invariances: ClassVar[frozenset[str]] = frozenset(
        {"activation_scale", "activation_shift", "functional", "incoming_scale"}
    )
    dead: ClassVar[Literal["worst", "best", "any"]] = "any"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Moments of the pre-activation."""
        return (_PREACTIVATION,)

    def score(self, group: GroupView) -> Tensor:
        """Return the quotients; raises `NotApplicableError` unless one weight row writes a node."""
        from nodelens_metrics.arithmetic import ratio

        _check_one_row(group)
        quotient = ratio(group[_PREACTIVATION].variance, group.incoming().square().sum(1))
        return ratio(quotient, quotient.mean()) if self.relative else quotient


def _check_one_row(group: GroupView) -> None:
    parts = group.group.role("producer")
    if len(parts) != 1:
        raise NotApplicableError(f"{len(parts)} weights write these nodes; there is no single w")
    if parts[0].extent.inner * parts[0].extent.outer != 1:
        raise NotApplicableError("a node is written by several rows of weights, not by one w")


@frozen
class InputInformation:
    """What a node says about its input, as a Gaussian channel with the layer's noise.

    The noise is the median variance of the layer's pre-activations, over the nodes that vary, so
    the ordinary node gets ½ log 2 = 0.35 nats. 0 where the pre-activation is constant.
    """

    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "nats"
    formula: ClassVar[str] = "½ log(1 + Var(y)/σ0²), σ0² = median over the layer of Var(y)"
    source: ClassVar[str] = "Safaai et al. 2026, 2605.07086, input information (proxy)"
    invariances: ClassVar[frozenset[str]] = frozenset(
        {"activation_scale", "activation_shift", "functional"}
    )
    dead: ClassVar[Literal["worst", "best", "any"]] = "any"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Moments of the pre-activation."""
        return (_PREACTIVATION,)

    def score(self, group: GroupView) -> Tensor:
        """Return the information; raises `NotApplicableError` without a pre-activation site."""
        from nodelens_metrics.arithmetic import varies

        moments = group[_PREACTIVATION]
        live = varies(moments.mean, moments.variance)
        if not live.any():
            return moments.variance * 0.0
        signal = moments.variance.where(live, 0.0)
        return 0.5 * (signal / signal[live].quantile(0.5)).log1p()

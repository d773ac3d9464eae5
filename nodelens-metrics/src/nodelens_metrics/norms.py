"""Norms of the weights that write or read a node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from attrs import frozen

if TYPE_CHECKING:
    from typing import Literal

    from torch import Tensor

    from nodelens.scoring.contract import Better
    from nodelens.scoring.view import GroupView
    from nodelens.statistics.contract import Statistic


@frozen
class WeightL1:
    """The L1 norm of the weights that write a node, biases left out.

    Several producers (gate and up projection) count as one long row of weights. A dead ReLU is not
    noticed: its weights need not be small.
    """

    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "weight"
    formula: ClassVar[str] = "Σ_j |w_ij|"
    source: ClassVar[str] = "Li et al. 2017, Pruning Filters for Efficient ConvNets, 1608.08710"
    invariances: ClassVar[frozenset[str]] = frozenset(
        {"activation_scale", "activation_shift", "functional"}
    )
    dead: ClassVar[Literal["worst", "best", "any"]] = "any"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Nothing but weights."""
        return ()

    def score(self, group: GroupView) -> Tensor:
        """Return the norms; raises `NotApplicableError` where no parameter writes the nodes."""
        return group.incoming().abs().sum(1)


@frozen
class WeightL2:
    """The L2 norm of the weights that write a node, biases left out.

    Several producers (gate and up projection) count as one long row of weights.
    """

    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "weight"
    formula: ClassVar[str] = "(Σ_j w_ij²)^½"
    source: ClassVar[str] = "Li et al. 2017, 1608.08710, which compares it with the L1 norm"
    invariances: ClassVar[frozenset[str]] = frozenset(
        {"activation_scale", "activation_shift", "functional"}
    )
    dead: ClassVar[Literal["worst", "best", "any"]] = "any"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Nothing but weights."""
        return ()

    def score(self, group: GroupView) -> Tensor:
        """Return the norms; raises `NotApplicableError` where no parameter writes the nodes."""
        return group.incoming().square().sum(1).sqrt()


@frozen
class OutgoingL2:
    """The L2 norm of the weights that read a node.

    Together with an activation norm it bounds what the node adds to the next layer; alone it
    depends on how the activation is scaled.
    """

    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "weight"
    formula: ClassVar[str] = "(Σ_o W_oi²)^½"
    source: ClassVar[str] = "common"
    invariances: ClassVar[frozenset[str]] = frozenset(
        {"activation_scale", "activation_shift", "incoming_scale"}
    )
    dead: ClassVar[Literal["worst", "best", "any"]] = "any"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Nothing but weights."""
        return ()

    def score(self, group: GroupView) -> Tensor:
        """Return the norms; raises `NotApplicableError` where no parameter reads the nodes."""
        return group.outgoing().square().sum(1).sqrt()

"""Norms of the weights that write a node, that read it, or both; biases left out.

Several weights in one role (gate and up projection, two readers) count as one long row; one that
writes and reads the same nodes (a tied embedding) counts once in the norms of the whole group. A
dead ReLU is not noticed: its weights need not be small.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from attrs import frozen

from nodelens.errors import NotApplicableError

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.interfaces.metric import Better
    from nodelens.interfaces.statistic import Statistic
    from nodelens.scoring.view import GroupView

Dead = Literal["worst", "best", "any"]
_INCOMING = frozenset({"activation_scale", "activation_shift", "functional"})
_OUTGOING = frozenset({"activation_scale", "activation_shift", "incoming_scale"})
_GROUP = frozenset({"activation_scale", "activation_shift"})
_FILTERS = "Li et al. 2017, Pruning Filters for Efficient ConvNets, 1608.08710"


@frozen
class WeightL1:
    """The L1 norm of the weights that write a node."""

    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "weight"
    formula: ClassVar[str] = "Σ_j |w_ij|"
    source: ClassVar[str] = _FILTERS
    invariances: ClassVar[frozenset[str]] = _INCOMING
    dead: ClassVar[Dead] = "any"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Nothing but weights."""
        return ()

    def score(self, group: GroupView) -> Tensor:
        """Return the norms; raises `NotApplicableError` where no parameter writes the nodes."""
        return group.incoming().abs().sum(1)


@frozen
class WeightL2:
    """The L2 norm of the weights that write a node."""

    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "weight"
    formula: ClassVar[str] = "(Σ_j w_ij²)^½"
    source: ClassVar[str] = f"{_FILTERS}, which compares it with the L1 norm"
    invariances: ClassVar[frozenset[str]] = _INCOMING
    dead: ClassVar[Dead] = "any"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Nothing but weights."""
        return ()

    def score(self, group: GroupView) -> Tensor:
        """Return the norms; raises `NotApplicableError` where no parameter writes the nodes."""
        return group.incoming().square().sum(1).sqrt()


@frozen
class WeightLinf:
    """The largest weight that writes a node, without its sign."""

    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "weight"
    formula: ClassVar[str] = "max_j |w_ij|"
    source: ClassVar[str] = "common"
    invariances: ClassVar[frozenset[str]] = _INCOMING
    dead: ClassVar[Dead] = "any"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Nothing but weights."""
        return ()

    def score(self, group: GroupView) -> Tensor:
        """Return the norms; raises `NotApplicableError` where no parameter writes the nodes."""
        return group.incoming().abs().amax(1)


@frozen
class OutgoingL1:
    """The L1 norm of the weights that read a node."""

    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "weight"
    formula: ClassVar[str] = "Σ_o |W_oi|"
    source: ClassVar[str] = "common"
    invariances: ClassVar[frozenset[str]] = _OUTGOING
    dead: ClassVar[Dead] = "any"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Nothing but weights."""
        return ()

    def score(self, group: GroupView) -> Tensor:
        """Return the norms; raises `NotApplicableError` where no parameter reads the nodes."""
        return group.outgoing().abs().sum(1)


@frozen
class OutgoingL2:
    """The L2 norm of the weights that read a node.

    Together with an activation norm it bounds what the node adds to the next layer; alone it
    depends on how the activation is scaled.
    """

    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "weight"
    formula: ClassVar[str] = "(Σ_o W_oi²)^½"
    source: ClassVar[str] = "common; the magnitude baseline of FLAP's repository, 2312.11983"
    invariances: ClassVar[frozenset[str]] = _OUTGOING
    dead: ClassVar[Dead] = "any"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Nothing but weights."""
        return ()

    def score(self, group: GroupView) -> Tensor:
        """Return the norms; raises `NotApplicableError` where no parameter reads the nodes."""
        return group.outgoing().square().sum(1).sqrt()


@frozen
class OutgoingLinf:
    """The largest weight that reads a node, without its sign."""

    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "weight"
    formula: ClassVar[str] = "max_o |W_oi|"
    source: ClassVar[str] = "common"
    invariances: ClassVar[frozenset[str]] = _OUTGOING
    dead: ClassVar[Dead] = "any"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Nothing but weights."""
        return ()

    def score(self, group: GroupView) -> Tensor:
        """Return the norms; raises `NotApplicableError` where no parameter reads the nodes."""
        return group.outgoing().abs().amax(1)


@frozen
class GroupL1:
    """The L1 norm of all weights of a node: those that write it and those that read it."""

    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "weight"
    formula: ClassVar[str] = "Σ_j |w_ij| + Σ_o |W_oi|"
    source: ClassVar[str] = "common"
    invariances: ClassVar[frozenset[str]] = _GROUP
    dead: ClassVar[Dead] = "any"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Nothing but weights."""
        return ()

    def score(self, group: GroupView) -> Tensor:
        """Return the norms; raises `NotApplicableError` without writers or without readers."""
        return _all_weights(group).abs().sum(1)


@frozen
class GroupL2:
    """The L2 norm of all weights of a node: those that write it and those that read it."""

    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "weight"
    formula: ClassVar[str] = "(Σ_j w_ij² + Σ_o W_oi²)^½"
    source: ClassVar[str] = "common"
    invariances: ClassVar[frozenset[str]] = _GROUP
    dead: ClassVar[Dead] = "any"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Nothing but weights."""
        return ()

    def score(self, group: GroupView) -> Tensor:
        """Return the norms; raises `NotApplicableError` without writers or without readers."""
        return _all_weights(group).square().sum(1).sqrt()


@frozen
class GroupLinf:
    """The largest weight that goes with a node, without its sign."""

    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "weight"
    formula: ClassVar[str] = "max(max_j |w_ij|, max_o |W_oi|)"
    source: ClassVar[str] = "common"
    invariances: ClassVar[frozenset[str]] = _GROUP
    dead: ClassVar[Dead] = "any"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Nothing but weights."""
        return ()

    def score(self, group: GroupView) -> Tensor:
        """Return the norms; raises `NotApplicableError` without writers or without readers."""
        return _all_weights(group).abs().amax(1)


def _all_weights(group: GroupView) -> Tensor:
    """Return the weights that write or read each node, ``(nodes, weights)``, tied ones once."""
    import torch

    for role, verb in (("producer", "writes"), ("consumer", "reads")):
        if not any(part.role == role for part in group.group.slices):
            raise NotApplicableError(f"no parameter {verb} these nodes")
    return torch.cat(group.weights(), dim=1)

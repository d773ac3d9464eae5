"""What a node adds to the layers that read it: activation times outgoing weights.

Both scores stay the same when an activation is scaled and the weights that read it are scaled back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from attrs import frozen

from nodelens.statistics.moments import Moments

if TYPE_CHECKING:
    from typing import Literal

    from torch import Tensor

    from nodelens.scoring.contract import Better
    from nodelens.scoring.view import GroupView
    from nodelens.statistics.contract import Statistic


@frozen
class WandaSP:
    """Wanda summed to structures: mean |outgoing weight| times the root mean square activation.

    The published code sums a² over the tokens of a row and averages over rows; here it is the mean
    over tokens, which is the same ranking for rows of equal length and not biased by unequal ones.
    0 for a dead node.
    """

    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "weight · activation"
    formula: ClassVar[str] = "mean_o |W_oi| · (E a_i²)^½"
    source: ClassVar[str] = (
        "An et al. 2024, FLAP, 2312.11983, the Wanda-sp baseline; weight-level rule: Sun et al., "
        "2306.11695"
    )
    invariances: ClassVar[frozenset[str]] = frozenset({"functional", "incoming_scale"})
    dead: ClassVar[Literal["worst", "best", "any"]] = "worst"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Moments of the activation."""
        return (Moments(),)

    def score(self, group: GroupView) -> Tensor:
        """Return the products; raises `NotApplicableError` where no parameter reads the nodes."""
        return group.outgoing().abs().mean(1) * group[Moments()].rms


@frozen
class FlapWIFV:
    """Weighted input feature variance: the error of the next layer when a node becomes its mean.

    Exact for one node and a linear consumer. It goes with a repair that folds the mean into the
    consumer's bias. 0 for dead and for constant nodes.
    """

    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "weight² · activation²"
    formula: ClassVar[str] = "Var(a_i) · Σ_o W_oi²"
    source: ClassVar[str] = "An et al. 2024, FLAP, 2312.11983, metric WIFV"
    invariances: ClassVar[frozenset[str]] = frozenset(
        {"activation_shift", "functional", "incoming_scale"}
    )
    dead: ClassVar[Literal["worst", "best", "any"]] = "worst"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Moments of the activation."""
        return (Moments(),)

    def score(self, group: GroupView) -> Tensor:
        """Return the products; raises `NotApplicableError` where no parameter reads the nodes."""
        return group[Moments()].variance * group.outgoing().square().sum(1)

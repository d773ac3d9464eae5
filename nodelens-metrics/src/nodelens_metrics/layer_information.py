"""How much all nodes of a layer have in common: one number per group, in nats.

Of all nodes together, with noise of their own, `noise` of their variance, which bounds what exact
duplicates add. Plug-in estimates: with N independent samples of C unrelated nodes they are about
C²/4N (total correlation) too large, and with fewer samples than nodes the noise decides them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from attrs import field, frozen, validators

from nodelens.statistics.gram import Gram
from nodelens_metrics.information import INVARIANCES, NOISE

if TYPE_CHECKING:
    from typing import Literal

    from torch import Tensor

    from nodelens.interfaces.metric import Better
    from nodelens.interfaces.statistic import Statistic
    from nodelens.scoring.view import GroupView
    from nodelens_metrics.higher_order import Measure

_LEAST = validators.ge(1e-12)


@frozen
class LayerTotalCorrelation:
    """Total correlation of all nodes: what is lost by knowing each of them by itself.

    0 in groups of one node; dead and constant nodes add nothing.

    Attributes:
        noise: relative variance of the independent noise given to every node.
    """

    noise: float = field(default=NOISE, validator=_LEAST)
    level: ClassVar[Literal["node", "layer"]] = "layer"
    better: ClassVar[Better] = "neither"
    unit: ClassVar[str] = "nats"
    formula: ClassVar[str] = "½ [Σ log C_ii − log |C|], C = corr + noise·I"
    source: ClassVar[str] = "Watanabe 1960, 10.1147/rd.41.0066, total correlation"
    invariances: ClassVar[frozenset[str]] = INVARIANCES
    dead: ClassVar[Literal["worst", "best", "any"]] = "any"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """The covariance of the activations."""
        return (Gram(),)

    def score(self, group: GroupView) -> Tensor:
        """Return the total correlation, ``(1,)``."""
        return _of_group(group, self.noise, "tc")


@frozen
class LayerDualTotalCorrelation:
    """Dual total correlation of all nodes: the entropy that is in no node alone.

    0 in groups of one node; dead and constant nodes add nothing.

    Attributes:
        noise: relative variance of the independent noise given to every node.
    """

    noise: float = field(default=NOISE, validator=_LEAST)
    level: ClassVar[Literal["node", "layer"]] = "layer"
    better: ClassVar[Better] = "neither"
    unit: ClassVar[str] = "nats"
    formula: ClassVar[str] = "½ [log |C| + Σ log (C⁻¹)_ii], C = corr + noise·I"
    source: ClassVar[str] = "Han 1978, 10.1016/S0019-9958(78)90275-9, dual total correlation"
    invariances: ClassVar[frozenset[str]] = INVARIANCES
    dead: ClassVar[Literal["worst", "best", "any"]] = "any"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """The covariance of the activations."""
        return (Gram(),)

    def score(self, group: GroupView) -> Tensor:
        """Return the dual total correlation, ``(1,)``."""
        return _of_group(group, self.noise, "dtc")


@frozen
class LayerOInformation:
    """O-information of all nodes: positive where redundancy prevails, negative where synergy does.

    0 in groups of one or two nodes; dead and constant nodes add nothing.

    Attributes:
        noise: relative variance of the independent noise given to every node.
    """

    noise: float = field(default=NOISE, validator=_LEAST)
    level: ClassVar[Literal["node", "layer"]] = "layer"
    better: ClassVar[Better] = "neither"
    unit: ClassVar[str] = "nats"
    formula: ClassVar[str] = "½ [Σ log C_ii − Σ log (C⁻¹)_ii] − log |C|, C = corr + noise·I"
    source: ClassVar[str] = "Rosas et al. 2019, 1902.11239, O-information: TC − DTC"
    invariances: ClassVar[frozenset[str]] = INVARIANCES
    dead: ClassVar[Literal["worst", "best", "any"]] = "any"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """The covariance of the activations."""
        return (Gram(),)

    def score(self, group: GroupView) -> Tensor:
        """Return the O-information, ``(1,)``."""
        return _of_group(group, self.noise, "o")


def _of_group(group: GroupView, noise: float, measure: Measure) -> Tensor:
    from nodelens_metrics.sets import measured, with_noise

    return measured(with_noise(group[Gram()].correlation, noise), measure).unsqueeze(0)

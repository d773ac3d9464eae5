"""Information between all nodes of a layer: one number per group, in nats.

Of all nodes together. Each node gets independent noise, `noise` of its variance, which bounds the
contribution of exact duplicates. Plug-in estimates: with N independent samples of C unrelated nodes
they are about C²/4N (total correlation) too large, and with fewer samples than nodes the noise
decides them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from nodelens.interfaces.metric import MetricInfo
from nodelens.statistics.gram import Gram
from nodelens_metrics.mathematics import options
from nodelens_metrics.mathematics.intervals import BIASED
from nodelens_metrics.mathematics.second_moments import INVARIANCES

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.scoring.view import GroupView
    from nodelens_metrics.mathematics.total_correlation import Measure


@frozen
class LayerTotalCorrelation:
    """Total correlation of all nodes of a layer.

    0 in groups of one node; dead and constant nodes add nothing.
    """

    info = MetricInfo(
        formula="½ [Σ log C_ii − log |C|], C = corr + noise·I",
        unit="nats",
        higher_is_better=None,
        source="Watanabe 1960, 10.1147/rd.41.0066, total correlation",
        invariances=INVARIANCES,
        level="layer",
        no_interval=BIASED,
    )
    statistics = (Gram(),)

    noise: float = options.noise()

    def score(self, group: GroupView) -> Tensor:
        return _of_group(group, self.noise, "tc")


@frozen
class LayerDualTotalCorrelation:
    """Dual total correlation of all nodes of a layer: the entropy that is in no node alone.

    0 in groups of one node; dead and constant nodes add nothing.
    """

    info = MetricInfo(
        formula="½ [log |C| + Σ log (C⁻¹)_ii], C = corr + noise·I",
        unit="nats",
        higher_is_better=None,
        source="Han 1978, 10.1016/S0019-9958(78)90275-9, dual total correlation",
        invariances=INVARIANCES,
        level="layer",
        no_interval=BIASED,
    )
    statistics = (Gram(),)

    noise: float = options.noise()

    def score(self, group: GroupView) -> Tensor:
        return _of_group(group, self.noise, "dtc")


@frozen
class LayerOInformation:
    """O-information of all nodes of a layer: redundant above 0, synergistic below.

    0 in groups of one or two nodes; dead and constant nodes add nothing.
    """

    info = MetricInfo(
        formula="½ [Σ log C_ii − Σ log (C⁻¹)_ii] − log |C|, C = corr + noise·I",
        unit="nats",
        higher_is_better=None,
        source="Rosas et al. 2019, 1902.11239, O-information: TC − DTC",
        invariances=INVARIANCES,
        level="layer",
    )
    statistics = (Gram(),)

    noise: float = options.noise()

    def score(self, group: GroupView) -> Tensor:
        return _of_group(group, self.noise, "o")


def _of_group(group: GroupView, noise: float, measure: Measure) -> Tensor:
    from nodelens_metrics.information.sets import with_noise
    from nodelens_metrics.mathematics.total_correlation import measured

    matrix = with_noise(group[Gram()].correlation, noise)
    return measured(matrix, measure, group.components).unsqueeze(0)

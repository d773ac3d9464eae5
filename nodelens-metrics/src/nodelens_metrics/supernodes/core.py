"""Metrics of supernodes, which carry most of the loss proxy, and of their halo.

q = a·g at a position, LP = ½ E[q²] is the loss proxy, and v_i are the weights that read node i (its
column in the next layer). The *core* are the nodes of the largest LP; its *write support* are the
outputs that the core writes most to; the *halo* are the other nodes with most of their weight on
the write support. Definitions of Cherilyn & Safaai 2026, Supernodes and Halos, 2604.23475, and its
public code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from attrs import evolve, field, frozen, validators

from nodelens.interfaces.metric import MetricInfo
from nodelens.scoring.shared_options import option
from nodelens.statistics.gradients import GradientMoments
from nodelens_metrics.mathematics import options
from nodelens_metrics.mathematics.intervals import CHOSEN_CORE
from nodelens_metrics.mathematics.second_moments import NOISE, RANK, second_moments

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.interfaces.statistic import Statistic
    from nodelens.scoring.view import GroupView
    from nodelens_metrics.mathematics.tiles import Correlations

_SOURCE = "Cherilyn & Safaai 2026, Supernodes and Halos, 2604.23475"
_FUNCTIONAL = frozenset({"functional", "incoming_scale"})
_SHARE: Any = [validators.gt(0.0), validators.le(1.0)]


@frozen
class Supernode:
    """Core membership: 1 for the nodes of largest loss proxy in the group, else 0.

    Nodes of equal proxy at the border are all in the core, or none is, so that the choice is never
    arbitrary; the core may be larger than requested.
    """

    info = MetricInfo(
        formula="1 if LP_i is among the largest round(core · nodes), at least one, else 0",
        unit="1",
        higher_is_better=True,
        source=f"{_SOURCE}, core",
        dead_nodes="lowest",
        invariances=_FUNCTIONAL,
        no_interval="a node is in the core or not",
    )
    statistics = (GradientMoments(centred=False),)

    core: float = options.core()

    def score(self, group: GroupView) -> Tensor:
        return core_of(_loss_proxy(group), self.core).double()


@frozen
class SupernodeMass:
    """Fraction of a layer's loss proxy in the core, the nodes of largest loss proxy."""

    info = MetricInfo(
        formula="Σ_core LP / Σ LP",
        unit="1",
        higher_is_better=None,
        source=f"{_SOURCE}, top-1 % mass",
        invariances=_FUNCTIONAL,
        level="layer",
        no_interval=CHOSEN_CORE,
    )
    statistics = (GradientMoments(centred=False),)

    core: float = options.core()

    def score(self, group: GroupView) -> Tensor:
        from nodelens_metrics.mathematics.arithmetic import ratio

        proxy = _loss_proxy(group)
        count = core_size(len(proxy), self.core)
        return ratio(proxy.topk(count).values.sum(), proxy.sum()).view(1)


@frozen
class CoreConnection:
    """Fraction of a node's outgoing weight on the outputs that the core writes most.

    Attributes:
        support: fraction of the outputs in the core's write support, at least one output. The
            default is the published 256 of 4,096.
    """

    info = MetricInfo(
        formula="Conn_i = Σ_h∈S |v_ih| / ‖v_i‖₁, S the outputs of largest Σ_core |v_s|",
        unit="1",
        higher_is_better=None,
        source=f"{_SOURCE}, write support and connection",
        invariances=frozenset({"incoming_scale"}),
        no_interval=CHOSEN_CORE,
    )
    statistics = (GradientMoments(centred=False),)

    core: float = options.core(support=0.5)
    support: float = field(default=1 / 16, validator=_SHARE)

    def score(self, group: GroupView) -> Tensor:
        from nodelens_metrics.mathematics.connections import output_strengths

        core = core_of(_loss_proxy(group), self.core)
        return connection(output_strengths(group), core, self.support)


@frozen
class CoreRedundancy:
    """Mean Gaussian mutual information of a node's q = a·g with the closest supernodes.

    Only positive correlations count. 0 for supernodes themselves.

    Attributes:
        top: number of supernodes that are averaged over.
    """

    info = MetricInfo(
        formula="mean over the top s in core of −½ log(1 − r₊²), r = corr(q_i, q_s)",
        unit="nats",
        higher_is_better=False,
        source=f"{_SOURCE}, redundancy to the core",
        dead_nodes="highest",
        invariances=_FUNCTIONAL,
        no_interval=CHOSEN_CORE,
    )

    core: float = options.core()
    top: int = option(5, validators.ge(1), beside={"core": 0.5})
    sketch: int | None = options.sketch()

    @property
    def statistics(self) -> tuple[Statistic[Any], ...]:
        return (GradientMoments(centred=False), second_moments(self.sketch, of="gate"))

    def sketched(self) -> CoreRedundancy:
        return evolve(self, sketch=RANK)

    def score(self, group: GroupView) -> Tensor:
        core = core_of(_loss_proxy(group), self.core)
        return redundancy_to(_correlations_of_q(group, self.sketch), core, self.top)


@frozen
class Scar:
    """Loss proxy, lowered for nodes that are redundant with the core (SCAR).

    ``prot`` multiplies LP by Protect, which is 1 outside the halo and 0.2 + 0.8 (1 − rank⁸) inside,
    with rank the node's place by redundancy to the core in the halo, 0 to 1. ``conn`` lets that
    factor act in proportion to Conn. Supernodes rank above all others. Only the most redundant
    tenth of the halo changes noticeably: Protect is 0.66 at rank 0.9 and 0.997 at rank 0.5.

    Attributes:
        variant: SCAR-Prot or SCAR-Conn.
        halo: fraction of the other nodes that are the halo.
        support: fraction of the outputs in the core's write support, at least one output. The
            default is the published 256 of 4,096.
        top: number of supernodes that redundancy is averaged over.
    """

    info = MetricInfo(
        formula="LP · Protect, or LP · (1 − Conn + Conn · Protect); the core on top",
        unit="loss",
        higher_is_better=True,
        source=f"{_SOURCE}, SCAR-Prot and SCAR-Conn",
        dead_nodes="lowest",
        invariances=frozenset({"incoming_scale"}),
        heavy_tails=True,
    )

    variant: Literal["prot", "conn"] = option(
        "prot", validators.in_(("prot", "conn")), beside={"halo": 0.5}
    )
    core: float = options.core(halo=0.5, support=0.5)
    halo: float = field(default=0.1, validator=_SHARE)
    support: float = option(1 / 16, *_SHARE, beside={"halo": 0.5})
    top: int = option(5, validators.ge(1), examples=[1], beside={"core": 0.5, "halo": 1.0})
    sketch: int | None = options.sketch(core=0.5, halo=1.0)

    @property
    def statistics(self) -> tuple[Statistic[Any], ...]:
        return (GradientMoments(centred=False), second_moments(self.sketch, of="gate"))

    def sketched(self) -> Scar:
        return evolve(self, sketch=RANK)

    def score(self, group: GroupView) -> Tensor:
        from nodelens_metrics.mathematics.connections import output_strengths

        proxy = _loss_proxy(group)
        core = core_of(proxy, self.core)
        conn = connection(output_strengths(group), core, self.support)
        shared = redundancy_to(_correlations_of_q(group, self.sketch), core, self.top)
        factor = protection(shared, halo_of(conn, core, self.halo))
        if self.variant == "conn":
            factor = 1.0 - conn + conn * factor
        value = proxy * factor
        others = value.masked_fill(core, 0.0).max()
        return value.where(~core, proxy + others)


def _loss_proxy(group: GroupView) -> Tensor:
    """Return ½ E[q²] of every node."""
    return 0.5 * group[GradientMoments(centred=False)].q2


def _correlations_of_q(group: GroupView, sketch: int | None) -> Correlations:
    from nodelens_metrics.mathematics.tiles import correlations_in

    return correlations_in(group[second_moments(sketch, of="gate")])


def core_size(nodes: int, fraction: float) -> int:
    """Return the number of a fraction of the nodes or outputs: rounded, and at least one."""
    return max(1, round(fraction * nodes))


def core_of(proxy: Tensor, fraction: float) -> Tensor:
    """Return True for the nodes of the largest loss proxy, ``(nodes,)``; never for dead nodes."""
    border = proxy.topk(core_size(len(proxy), fraction)).values[-1]
    return (proxy >= border) & (proxy > 0)


def connection(outgoing: Tensor, core: Tensor, support: float) -> Tensor:
    """Return Conn, ``(nodes,)``, from the outgoing strengths of nodes, ``(nodes, outputs)``."""
    from nodelens_metrics.mathematics.arithmetic import ratio

    written = outgoing[core].sum(0)
    chosen = written.topk(core_size(len(written), support)).indices
    return ratio(outgoing[:, chosen].sum(1), outgoing.sum(1))


def redundancy_to(correlations: Correlations, core: Tensor, top: int) -> Tensor:
    """Return the mean information with the closest supernodes, ``(nodes,)``; 0 in the core."""
    from nodelens_metrics.mathematics.pairwise import information

    members = core.nonzero().flatten()
    if not len(members):
        return core.double()
    shared = information(correlations.columns(members).clamp(min=0.0) / (1.0 + NOISE))
    mean = shared.topk(min(top, shared.shape[1]), dim=1).values.mean(1)
    return mean.masked_fill(core, 0.0)


def halo_of(conn: Tensor, core: Tensor, fraction: float) -> Tensor:
    """Return True for the nodes outside the core with the largest connection, ``(nodes,)``."""
    others = (~core).nonzero().flatten()
    halo = core.new_zeros(len(core))
    if len(others):
        count = max(1, round(fraction * len(others)))
        halo[others] = conn[others] >= conn[others].topk(count).values[-1]
    return halo


def protection(shared: Tensor, halo: Tensor) -> Tensor:
    """Return Protect, ``(nodes,)``: 1 outside the halo, 0.2 for its most redundant node.

    A halo of one node has no order and is not lowered.
    """
    import torch

    factor = torch.ones_like(shared)
    inside = shared[halo]
    if len(inside) < 2:
        return factor
    below = (inside.unsqueeze(0) < inside.unsqueeze(1)).sum(1)
    equal = (inside.unsqueeze(0) == inside.unsqueeze(1)).sum(1) - 1
    rank = (below + equal / 2).double() / (len(inside) - 1)
    factor[halo] = 0.2 + 0.8 * (1.0 - rank.pow(8))
    return factor

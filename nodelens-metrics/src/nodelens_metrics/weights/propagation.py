"""Importance propagated back from the model's outputs along absolute weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from attrs import field, frozen, validators

from nodelens.errors import NotApplicableError
from nodelens.interfaces.metric import MetricInfo
from nodelens.statistics.reservoir import Reservoir

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.channels.groups import ChannelGroup, ParameterSlice
    from nodelens.interfaces.statistic import Statistic
    from nodelens.scoring.view import GroupView

Final = Literal["weights", "inf_fs"]
_OUTPUTS = ("model output", "vocabulary")
"""Reason for which outputs of the model that no weight reads are frozen."""


@frozen
class NISP:
    """NISP: importance propagated back from the model's outputs along absolute weights.

    The paper ranks the final response layer, which the outputs read, by its responses with a method
    of choice. Its own method is ``inf_fs``; a dead node then counts as uncorrelated with all
    others. ``weights`` needs no data: every output counts 1, so that the layer gets the sums of its
    outgoing weights.

    Activations, normalisations, pooling, and kernels of which a node owns whole groups (depthwise)
    pass importance on unchanged, and so do gates and attention patterns. Where producers and
    consumers of a node have different components (a key that several query heads read), the
    importance is divided evenly. In a residual stream a node counts from the point on where it was
    written, so that a block's neurons answer for all later blocks; the stream's own nodes count
    from its beginning. The order of the forward pass stands for dependence: a parallel branch that
    is computed later counts as behind, and a shared module counts at its last call. Not applicable
    where something that is no weight and no attention head reads the nodes. Reads all weights
    behind the group.

    Attributes:
        final: ranking of the final response layer: by outgoing weights, or by infinite feature
            selection on samples of its activations.
    """

    info = MetricInfo(
        formula="s_k = |W_k+1|ᵀ s_k+1, s = 1 at the outputs or Inf-FS before them",
        unit="1",
        higher_is_better=True,
        source=(
            "Yu et al. 2018, NISP, 1711.05908, the propagation of importance; the equation is not "
            "verified against the paper's text. Inf-FS: Roffo et al. 2015, ICCV, and its code"
        ),
        invariances=frozenset({"activation_shift", "incoming_scale"}),
    )

    final: Final = field(default="weights", validator=validators.in_(("weights", "inf_fs")))

    @property
    def statistics(self) -> tuple[Statistic[Any], ...]:
        return () if self.final == "weights" else (Reservoir(),)

    def score(self, group: GroupView) -> Tensor:
        graph = group.network.graph
        if graph is None or not graph.traced:
            raise NotApplicableError("it is not known what follows these nodes")
        folds = tuple(group.keep.tolist()) if self.statistics else ()
        way = group.network.remembered.setdefault((self, folds), _Propagation(self.final))
        found: Tensor = way.of(group, written=-1, parts=1)[:, 0]
        return found


@frozen(eq=False)
class _Propagation:
    """One pass back through a network; `known` are scores of a group from a point on.

    Points are numbers of traced tensors, which grow along the forward pass: a tensor that is
    written after a point is read later still, so that the pass ends. Scores are ``(nodes, parts)``,
    in as many parts as a weight has rows that write a node. `passed` holds the scores of a group's
    nodes through each weight that reads them, equal for all points before the weight.
    """

    final: Final
    known: dict[tuple[str, int, int], Tensor] = field(factory=dict)
    passed: dict[tuple[str, ParameterSlice], tuple[Tensor, bool]] = field(factory=dict)

    def of(self, view: GroupView, written: int, parts: int) -> Tensor:
        """Return the scores of a group's nodes from what reads them after `written`."""
        key = (view.group.name, written, parts)
        if key not in self.known:
            self.known[key] = self._read(view, written, parts)
        return self.known[key]

    def _read(self, view: GroupView, written: int, parts: int) -> Tensor:
        import torch

        readers = view.group.weights("consumer")
        if not readers:
            raise NotApplicableError(f"no weight reads the nodes of {view.group.name}")
        total = torch.zeros(view.width, parts, dtype=torch.float64)
        ends = False
        for part in readers:
            if _point(view, view.group, part, "input") < written:
                continue
            key = (view.group.name, part)
            if key not in self.passed:
                self.passed[key] = self._through(view, part)
            found, final = self.passed[key]
            ends |= final
            if not (final and self.final == "inf_fs"):
                total += _in_parts(found, parts)
        if ends and self.final == "inf_fs":
            total += _in_parts(_responses(view), parts)
        return total

    def _through(self, view: GroupView, part: ParameterSlice) -> tuple[Tensor, bool]:
        """Return the scores that nodes get through one weight that reads them, ``(nodes, parts)``.

        The second value says whether the weight writes outputs of the model.
        """
        import torch

        from nodelens_metrics.mathematics.connections import by_node, connections

        mass = connections(view, part).sum(-1)
        groups = len(mass) if part.axis == 0 else 1
        score, final = self._written(view, part, groups)
        passed = torch.einsum("goi,go->gi", mass, score.to(mass.device).view(mass.shape[:2]))
        return by_node(part, passed).cpu(), final

    def _written(self, view: GroupView, part: ParameterSlice, groups: int) -> tuple[Tensor, bool]:
        """Return the scores of what a weight writes, ``(groups, outputs)``, and whether it ends.

        1 of the model's outputs. `groups` are those of a transposed convolution, whose weight has
        one index for an output of every group.
        """
        import torch

        from nodelens_metrics.mathematics.connections import output_axis

        axis = output_axis(view, part)
        score = torch.ones(groups, view.parameters[part.parameter].shape[axis], dtype=torch.float64)
        known = torch.zeros_like(score[0], dtype=torch.bool)
        for target, slice_ in self._writers(view, part.parameter, axis):
            cells = slice_.extent.nodes_last(known, 0)
            if bool(cells.all()) or target.frozen in _OUTPUTS:
                continue
            point = _point(view, target, slice_, "output")
            rows = groups * cells[..., 0].numel()
            behind = self.of(view.view_of(target.name), point, rows)
            place = slice_.extent.nodes_last(score, 1)
            place.copy_(behind.mT.view_as(place))
            cells.fill_(True)
        return score, not bool(known.any())

    def _writers(
        self, view: GroupView, parameter: str, axis: int
    ) -> list[tuple[ChannelGroup, ParameterSlice]]:
        """Return the groups that a weight writes along an axis, each with its slice.

        Several groups may slice the same rows (heads, their dimensions, groups of a convolution):
        the group that is read first comes first, groups that nothing reads last.
        """
        found = [
            (target, slice_)
            for target in view.network.graph or ()
            for slice_ in target.weights("producer")
            if (slice_.parameter, slice_.axis) == (parameter, axis)
        ]
        return sorted(found, key=lambda pair: _first_read(view, pair[0]))


def _first_read(view: GroupView, group: ChannelGroup) -> float:
    """Return the first traced tensor that reads a group's nodes, infinity without one."""
    readers = group.weights("consumer")
    return min((_point(view, group, part, "input") for part in readers), default=float("inf"))


def _responses(view: GroupView) -> Tensor:
    """Return the scores of a final response layer by its activations, ``(nodes, components)``."""
    from nodelens_metrics.weights.responses import infinite_feature_selection

    return infinite_feature_selection(view[Reservoir()].values).view(view.width, -1).cpu()


def _in_parts(score: Tensor, parts: int) -> Tensor:
    """Return scores ``(nodes, components)`` in as many parts, divided evenly if not one to one."""
    if score.shape[1] == parts:
        return score
    return score.sum(1, keepdim=True).expand(-1, parts) / parts


def _point(
    view: GroupView, group: ChannelGroup, part: ParameterSlice, end: Literal["input", "output"]
) -> int:
    """Return the traced tensor that a weight reads, or that its module writes, at the last call.

    A tied weight is used by every module that owns it.
    """
    users = view.users(part.parameter)
    values = [site.value for site in group.sites if site.module in users and site.end == end]
    if end == "input":
        values += [site.value for site in group.sites if site.argument == part.parameter]
    if not values:
        raise NotApplicableError(f"it is not known when {part.parameter} is used")
    return max(values)

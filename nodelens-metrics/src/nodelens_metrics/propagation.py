"""Importance that is passed back from the model's outputs along absolute weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from attrs import field, frozen

from nodelens.errors import NotApplicableError

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.channels.groups import ChannelGroup, ParameterSlice
    from nodelens.scoring.contract import Better
    from nodelens.scoring.view import GroupView
    from nodelens.statistics.contract import Statistic


@frozen
class NISP:
    """A node's share in all model outputs, along the absolute weights of everything behind it.

    Every output of the model counts 1, which gives the final response layer the sums of its
    outgoing weights; the paper ranks that layer by a method of choice (Inf-FS). Activations,
    normalisations, pooling and depthwise kernels pass importance on unchanged. In a residual stream
    a node counts from the point on where it was written, so that a block's neurons answer for all
    later blocks; the stream's own nodes count from its beginning. The order of the forward pass
    stands for dependence: a parallel branch that is computed later counts as behind, and a shared
    module counts at its last call. Not applicable where nodes are read by something that is not a
    weight (queries and keys). Reads all weights behind the group.
    """

    better: ClassVar[Better] = "high"
    unit: ClassVar[str] = "1"
    formula: ClassVar[str] = "s_k = |W_k+1|ᵀ s_k+1, s = 1 at the outputs"
    source: ClassVar[str] = (
        "Yu et al. 2018, NISP, 1711.05908, the propagation of importance; the equation is not "
        "verified against the paper's text"
    )
    invariances: ClassVar[frozenset[str]] = frozenset(
        {"activation_scale", "activation_shift", "incoming_scale"}
    )
    dead: ClassVar[Literal["worst", "best", "any"]] = "any"

    def needs(self) -> tuple[Statistic[Any], ...]:
        """Nothing but weights."""
        return ()

    def score(self, group: GroupView) -> Tensor:
        """Return the scores; raises `NotApplicableError` where importance cannot be passed back."""
        graph = group.network.graph
        if graph is None or not graph.traced:
            raise NotApplicableError("it is not known what follows these nodes")
        return _Propagation(group).of(group, written=-1)


@frozen(eq=False)
class _Propagation:
    """One way back through a network; `known` are scores of a group from a point on.

    Points are numbers of traced tensors, which grow along the forward pass: what is written after a
    point is read later still, so that the way has an end.
    """

    view: GroupView
    known: dict[tuple[str, int], Tensor] = field(factory=dict)

    def of(self, view: GroupView, written: int) -> Tensor:
        """Return the scores of a group's nodes for what reads them after `written`."""
        key = (view.group.name, written)
        if key not in self.known:
            self.known[key] = self._read(view, written)
        return self.known[key]

    def _read(self, view: GroupView, written: int) -> Tensor:
        import torch

        readers = view.group.role("consumer")
        if not readers:
            if view.group.frozen == "model output":
                return torch.ones(view.width, dtype=torch.float64)
            raise NotApplicableError(f"no weight reads the nodes of {view.group.name}")
        total = torch.zeros(view.width, dtype=torch.float64)
        for part in readers:
            if _point(view.group, part, "input") >= written:
                total += self._through(view, part).cpu()
        return total

    def _through(self, view: GroupView, part: ParameterSlice) -> Tensor:
        """Return what a node gets from the outputs of one weight that reads it."""
        import torch

        weight = view.parameters[part.parameter].detach().abs().double()
        outputs = output_axis(view, part)
        written = self._written(view, part, outputs).to(weight)
        passed = torch.tensordot(weight, written, dims=([outputs], [0]))
        return part.extent.nodes_first(passed, 0).sum(1)

    def _written(self, view: GroupView, part: ParameterSlice, axis: int) -> Tensor:
        """Return the scores of what a weight writes, ``(outputs,)``; 1 where no group is known."""
        import torch

        size = view.parameters[part.parameter].shape[axis]
        score = torch.ones(size, dtype=torch.float64)
        for target in view.network.graph or ():
            for slice_ in target.role("producer"):
                if (slice_.parameter, slice_.axis) == (part.parameter, axis):
                    point = _point(target, slice_, "output")
                    behind = self.of(view.view_of(target.name), point)
                    slice_.extent.nodes_last(score, 0).copy_(behind)
        return score


def _point(group: ChannelGroup, part: ParameterSlice, end: Literal["input", "output"]) -> int:
    """Return the traced tensor that a weight reads, or its module writes, at the last call."""
    module = part.parameter.rpartition(".")[0]
    values = [site.value for site in group.sites if (site.module, site.end) == (module, end)]
    if end == "input":
        values += [site.value for site in group.sites if site.argument == part.parameter]
    if not values:
        raise NotApplicableError(f"it is not known when {part.parameter} is used")
    return max(values)


def output_axis(view: GroupView, part: ParameterSlice) -> int:
    """Return the axis of what a weight writes, given a part of it along the axis that it reads.

    Raises `NotApplicableError` for what is neither a matrix nor the weight of a convolution.
    """
    from torch.nn.modules.conv import _ConvNd

    module = view.network.modules.get(part.parameter.rpartition(".")[0])
    matrix = view.parameters[part.parameter].ndim == 2
    if part.axis > 1 or not (matrix or isinstance(module, _ConvNd)):
        raise NotApplicableError(f"{part.parameter} is neither a matrix nor a convolution's weight")
    return 1 - part.axis

"""Channel groups, the result of channel inference: parameter slices, sites, blocks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Literal

from attrs import field, frozen

from nodelens.errors import ModelError, UnknownNameError, did_you_mean
from nodelens.interfaces.operator import Operator

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.channels.weight_programs import ComputedWeight

Role = Literal["producer", "consumer", "carrier"]
SitePoint = Literal["activation", "preactivation"]

SINGLE_QUERY_HEADS = "single_query_heads"
"""The kind of single query heads where several share keys and values."""

IN_ATTENTION = ("heads", "kv_groups", "query_heads", SINGLE_QUERY_HEADS, "head_dim", "value_dim")
"""The kinds of nodes of an attention: all numbers of a node at one position are components."""


@frozen
class Extent:
    """Which indices of an axis belong to which node.

    Node ``j`` owns ``offset + o * period + j * inner + i`` for every ``o < outer``, ``i < inner``.
    A plain channel axis is ``Extent(width)``; a flattened feature map has ``inner = height *
    width``; attention heads have ``inner = head_dim``; a segment of a concatenation has an
    `offset`; one that repeats (query, key and value interleaved per head) has ``outer`` repetitions
    `period` apart.
    """

    width: int
    offset: int = 0
    inner: int = 1
    outer: int = 1
    period: int = 0

    @property
    def count(self) -> int:
        """The number of indices of each node."""
        return self.inner * self.outer

    @property
    def step(self) -> int:
        """The distance between repetitions: `period`, or the whole width if there is one only."""
        return self.period or self.width * self.inner

    def nodes_last(self, tensor: Tensor, axis: int) -> Tensor:
        """Return a view ``(..., outer, inner, nodes)``: the owned indices of `axis`, moved last."""
        sizes = (self.outer, self.width, self.inner)
        last = tensor.movedim(axis, -1)
        head, stride = last.stride()[:-1], last.stride(-1)
        strides = (*head, self.step * stride, self.inner * stride, stride)
        start = last.storage_offset() + self.offset * stride
        return last.as_strided((*last.shape[:-1], *sizes), strides, start).movedim(-2, -1)

    def nodes_first(self, tensor: Tensor, axis: int) -> Tensor:
        """Return the entries of `tensor` that each node owns, ``(nodes, everything else)``."""
        return self.nodes_last(tensor, axis).movedim(-1, 0).flatten(1)

    @property
    def owned(self) -> set[int]:
        """The indices of all nodes."""
        return {index for node in self.indices() for index in node}

    def indices(self) -> list[list[int]]:
        """Return the indices of every node, node by node."""
        return [
            [
                self.offset + o * self.step + j * self.inner + i
                for o in range(self.outer)
                for i in range(self.inner)
            ]
            for j in range(self.width)
        ]


@frozen
class ParameterSlice:
    """One axis of a parameter that belongs to a group, and its role there.

    A `factor` is not multiplied with data itself in evaluation: the model computes a weight from
    it, or it has the role in training only. `stacked` is the axis of a stack of weights, such as
    that of experts, each with the nodes of its own.
    """

    parameter: str
    axis: int
    role: Role
    extent: Extent
    factor: bool = False
    stacked: int | None = None

    @property
    def module(self) -> str:
        """The path of the module that owns the parameter."""
        return self.parameter.rpartition(".")[0]


@frozen
class Rows:
    """Which axis of a tensor runs over the samples of a batch, alone or together with positions.

    Where the axis holds more than the samples, these run slowest, ``(samples × positions)``, or,
    if `last`, fastest, ``(positions × samples)``.
    """

    axis: int = 0
    last: bool = False

    def first(self, tensor: Tensor, rows: int) -> Tensor:
        """Return a view ``(samples, positions, …)`` with the other axes in their order.

        Raises `ModelError` where the axis is not made of `rows` samples.
        """
        size = tensor.shape[self.axis]
        if not rows or size % rows:
            raise ModelError(f"axis {self.axis} of {tuple(tensor.shape)} is not {rows} samples")
        split = (size // rows, rows) if self.last else (rows, size // rows)
        apart = tensor.view(*tensor.shape[: self.axis], *split, *tensor.shape[self.axis + 1 :])
        return apart.movedim((self.axis + self.last, self.axis + (not self.last)), (0, 1))


@frozen
class Site:
    """A place where the nodes of a group are readable while the model runs.

    `point` says what is read: ``activation`` is what a consumer reads (after normalisation and
    nonlinearity), ``preactivation`` what a producer writes. `argument` is the position or keyword
    of the tensor among the module's inputs or outputs, `call` counts the calls of a shared module.
    `value` names the traced tensor: sites with the same `value` read the same tensor, which is
    counted once and masked everywhere. `overwritten` says that the model changes the tensor in
    place later, so that it must be copied to be read later.

    The ``operand`` end is inside a module that uses a weight itself: the tensor that is multiplied
    with the parameter of the name `argument` (a name from the model's root) and summed over the
    parameter's axis `along`, at every such product of every call. `rows` says where the samples are
    in the tensor; None where this is unknown: tokens sent to experts, an example of one sample.

    Where a stack of `stack` weights reads the tensor, such as those of experts, a node is one
    number for each of these. `stacked` is the axis that runs over the stack, which may be `axis`.
    """

    module: str
    end: Literal["input", "output", "operand"]
    point: SitePoint
    axis: int
    extent: Extent
    argument: int | str = 0
    call: int = 0
    value: int = 0
    overwritten: bool = False
    rows: Rows | None = Rows()
    along: int = 0
    stacked: int | None = None
    stack: int = 1

    @property
    def numbers(self) -> tuple[int, int, int]:
        """How often the stack, and both loops of the extent, repeat a node at one position."""
        beside = self.stack if self.stacked not in (None, self.axis) else 1
        return beside, self.extent.outer, self.extent.inner

    @property
    def name(self) -> str:
        """The site in words, such as ``features.3 (input)``."""
        end = f"times {self.argument}" if self.end == "operand" else self.end
        return f"{self.module or '(model)'} ({end})"

    def nodes(self, tensor: Tensor, rows: int) -> Tensor:
        """Return ``(samples, positions, nodes)`` of the tensor at this site.

        All axes but those of samples and nodes are positions. Raises `ModelError` where the axis of
        the samples is unknown.
        """
        if self.rows is None:
            raise ModelError(f"{self.name}: its rows are not samples, they can only be masked")
        apart = self.rows.first(tensor, rows)
        axis = self.axis + (self.axis < self.rows.axis) + 1
        return self.extent.nodes_last(apart, axis).reshape(rows, -1, self.extent.width)


@frozen
class ChannelGroup:
    """The nodes of one inferred axis: each a set of slices that are kept or removed together.

    A group with a `frozen` reason can be scored, never removed. `normalised` marks groups where the
    number of nodes enters the computation (a LayerNorm over them): there, removing a node is not
    the same as replacing it by zero. `split_at` says where the model's code splits the nodes from
    others of one axis, by numbers that may not follow a removal. `computed` are slices of weights
    that the model computes, by their names in `ChannelGraph.computed`. `part_of` names the group
    that has the weights of these nodes, such as the group of a single query head: such nodes are
    scored and ablated on their own, and left out where nodes of several groups count together.
    `unread` says which weight reads these nodes where no site shows them.
    """

    name: str
    kind: str
    width: int
    slices: tuple[ParameterSlice, ...] = ()
    sites: tuple[Site, ...] = ()
    frozen: str | None = None
    normalised: bool = False
    split_at: str = ""
    computed: tuple[ParameterSlice, ...] = ()
    part_of: str = ""
    unread: str = ""

    @property
    def prunable(self) -> bool:
        """Whether nodes of the group may be removed."""
        return self.frozen is None

    def at(self, point: SitePoint) -> tuple[Site, ...]:
        """Return the sites of one point that can be read sample by sample, each tensor once.

        There is none where some read is not shown: the others are a part of what the nodes do.
        """
        seen: dict[int, Site] = {}
        if self.unread and point == "activation":
            return ()
        for site in self.sites:
            if site.point == point and (site.end != "operand" or site.rows is not None):
                seen.setdefault(site.value, site)
        return tuple(seen.values())

    def components(self, point: SitePoint) -> int:
        """Return the number of components of a node at the sites of one point.

        Such as the dimensions of a head. All query heads of a group with shared keys and values are
        components of that one node, and so are all experts of a stack. Positions that a flatten
        puts beside each other are none: the producer writes one number there. 1 where the sites do
        not agree.
        """
        found = {(site.numbers, site.stacked is not None) for site in self.at(point)}
        if len(found) != 1:
            return 1
        (numbers, stacked) = found.pop()
        count = prod(numbers)
        written = {part.extent.count for part in self.weights("producer")}
        whole = stacked or self.kind in IN_ATTENTION or count in written
        return count if whole else 1

    def role(self, role: Role) -> tuple[ParameterSlice, ...]:
        """Return the slices of one role, of the parameters that the model stores."""
        return tuple(part for part in self.slices if part.role == role)

    def weights(self, *roles: Role) -> tuple[ParameterSlice, ...]:
        """Return the slices of some roles, of the weights that the model multiplies with.

        A computed weight (a mask times a parameter, a weight norm) takes the place of its factors.
        """
        parts = (*self.slices, *self.computed)
        return tuple(part for part in parts if part.role in roles and not part.factor)


@frozen
class Block:
    """A module that reads and returns the nodes of one group along the same axis of both tensors.

    Such as a residual block or a transformer layer: the tensor read and the tensor returned can be
    compared. `axis` is that of its first input and of its first output.
    """

    module: str
    group: str
    axis: int


@frozen
class ChannelGraph:
    """All groups of one model, in the order of the forward pass.

    Groups whose nodes no weight writes (model inputs, a vocabulary, experts) come last:
    they are frozen and have no sites. The positions of convolution kernels are not nodes.

    `traced` is False for models whose forward could not be traced (`note` says why): their groups
    come from Linear and convolution modules alone and are frozen. `unused` names the parameters
    that the forward uses neither in evaluation nor in training. `blocks` are the outermost modules
    from a group to itself, in the order of the forward. `mixed` says where the model mixes the
    samples of a batch in evaluation, if it does. `calls` is how often each module was called.
    `operators` are the rows of operators that the core does not know. `computed` are the weights
    that the model computes from parameters before it multiplies with them, by name.
    """

    groups: tuple[ChannelGroup, ...]
    traced: bool = True
    note: str = ""
    unknown_operators: Mapping[str, str] = field(factory=dict)
    unused: tuple[str, ...] = ()
    blocks: tuple[Block, ...] = ()
    mixed: str = ""
    calls: Mapping[str, int] = field(factory=dict)
    operators: tuple[Operator, ...] = ()
    computed: Mapping[str, ComputedWeight] = field(factory=dict)

    def __iter__(self) -> Iterator[ChannelGroup]:
        return iter(self.groups)

    @cached_property
    def knows_samples(self) -> bool:
        """Whether some site shows where the samples are; an example of one row shows it nowhere."""
        return any(site.rows for group in self.groups for site in group.sites)

    def unreadable(self, group: ChannelGroup, point: SitePoint) -> str:
        """Return why the nodes of a group cannot be read sample by sample; empty if they can."""
        sites = group.at(point)
        return self._unknown(sites) if sites else f"the group has no {point} site"

    def unreadable_module(self, module: str) -> str:
        """Return why inputs and outputs of a module cannot be read sample by sample, or nothing."""
        sites = (site for group in self.groups for site in group.sites if site.module == module)
        return self._unknown(site for site in sites if site.end != "operand")

    def _unknown(self, sites: Iterable[Site]) -> str:
        unknown = [site for site in sites if site.rows is None and self.knows_samples]
        return (
            f"{unknown[0].name}: the samples cannot be distinguished there (they are in the middle "
            "of an axis, or only chosen ones are there); its nodes cannot be scored from data"
            if unknown
            else ""
        )

    def __len__(self) -> int:
        return len(self.groups)

    @property
    def joint_groups(self) -> tuple[tuple[str, ...], ...]:
        """Return the names of groups of equal width between which the code splits one axis.

        Where the code says in how many parts and not in which sizes (a ``chunk``), these groups can
        only be removed together: as many nodes of each in one call.
        """
        found: dict[tuple[str, int], list[str]] = {}
        for group in self.groups:
            if group.prunable and group.split_at:
                found.setdefault((group.split_at, group.width), []).append(group.name)
        return tuple(tuple(names) for names in found.values() if len(names) > 1)

    def __getitem__(self, name: str) -> ChannelGroup:
        for group in self.groups:
            if group.name == name:
                return group
        hint = did_you_mean(str(name), (group.name for group in self.groups))
        raise UnknownNameError(f"no channel group is called {name!r}{hint}")

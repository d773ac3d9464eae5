"""The kind of the nodes of a group, and the name of the group, which says where they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from attrs import evolve
from torch.nn.modules.conv import _ConvNd

if TYPE_CHECKING:
    from torch import nn

    from nodelens.channels.expressions import Variable
    from nodelens.channels.groups import ChannelGroup, ParameterSlice


def kind_of(
    model: nn.Module,
    variable: Variable,
    modules: Sequence[str],
    slices: Iterable[ParameterSlice],
    looped: bool,
    nested: int | None,
) -> str:
    """Return the kind of nodes: a part of attention, ``channels``, ``residual``, ``neurons``.

    `modules` are those that write the nodes; `looped` says that some write after others have read,
    `nested` how many more slices write the heads inside these or around these, if there are any.
    """
    if variable.attention and (not looped or variable.attention[0] == "heads"):
        return _attention_kind(variable.attention[0], slices, nested)
    convolutions = [isinstance(model.get_submodule(path), _ConvNd) for path in modules]
    if all(convolutions):
        return "channels"
    if looped:
        return "residual"
    return "channels" if any(convolutions) else "neurons"


def _attention_kind(part: str, slices: Iterable[ParameterSlice], nested: int | None) -> str:
    """Return the kind of heads: plain ones, groups with shared keys and values, heads in these.

    Queries, keys and values have the groups, queries alone the heads in these. Where one weight
    writes all, the heads in the groups are those that repeat.
    """
    if part != "heads" or nested is None:
        return part
    inner = any(each.role == "consumer" and each.extent.outer > 1 for each in slices)
    return "query_heads" if nested > 0 or (nested == 0 and inner) else "kv_groups"


def place_of(variable: Variable, modules: Sequence[str], kind: str) -> str:
    """Return the module that a group is named after.

    This is the module of the attention, or the common path of all modules that write the nodes. A
    residual stream is named after the first module that writes it.
    """
    if variable.attention and kind not in ("residual", "channels", "neurons"):
        return variable.attention[1]
    if kind in ("residual", "channels"):
        return modules[0]
    paths = [path.split(".") for path in modules]
    common: list[str] = []
    for names in zip(*paths, strict=False):
        if len(set(names)) > 1:
            break
        common.append(names[0])
    return ".".join(common) or modules[0]


def unique(groups: Iterable[ChannelGroup]) -> Iterator[ChannelGroup]:
    """Yield the groups, numbered where they would share a name."""
    seen: Counter[str] = Counter()
    for group in groups:
        seen[group.name] += 1
        number = seen[group.name]
        yield group if number == 1 else evolve(group, name=f"{group.name}:{number}")

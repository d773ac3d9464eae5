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
    from nodelens.channels.groups import ChannelGroup


def kind_of(
    model: nn.Module,
    variable: Variable,
    modules: Sequence[str],
    looped: bool,
    nested: Sequence[bool],
) -> str:
    """Return the kind of nodes: a part of attention, ``channels``, ``residual``, ``neurons``.

    `modules` are those that write the nodes; `looped` says that some write after others have read,
    `nested`, of each slice that writes heads, whether other heads are written inside them or around
    them.
    """
    if variable.attention and (not looped or variable.attention[0] == "heads"):
        return _attention_kind(variable.attention[0], nested)
    convolutions = [isinstance(model.get_submodule(path), _ConvNd) for path in modules]
    if all(convolutions):
        return "channels"
    if looped:
        return "residual"
    return "channels" if any(convolutions) else "neurons"


def _attention_kind(part: str, nested: Sequence[bool]) -> str:
    """Return the kind of heads: plain ones, groups with shared keys and values, heads in these.

    Keys and values have the groups alone, queries both.
    """
    if part != "heads" or not any(nested):
        return part
    return "query_heads" if all(nested) else "kv_groups"


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

"""Head sizes that a model's code takes from one number: no part of a head can shrink alone.

Queries, keys and values mostly share one ``head_dim``. Where the code views all three with it,
values cannot become smaller than queries and keys, nor these smaller than values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import evolve
from torch import nn

from nodelens.channels.passes import Pass, resized_pass

if TYPE_CHECKING:
    from nodelens.channels.groups import ChannelGroup
    from nodelens.channels.trace import Trace

_KINDS = ("head_dim", "value_dim")
_BOOKKEEPING = frozenset(vars(nn.Module()))


def freeze_shared_sizes(
    work: Pass, trace: Trace, groups: Sequence[ChannelGroup], errors: tuple[type[Exception], ...]
) -> Iterator[ChannelGroup]:
    """Yield the groups, parts of heads frozen where one number of the code sets their size.

    A forward on fake tensors with one node less decides whether the code has a number there; it is
    one number if the module has no two integers of that size. Modules of one class are tried once.
    """
    tried: dict[tuple[Any, ...], bool] = {}
    for group in groups:
        if group.kind in _KINDS and group.prunable and not trace.real:
            place = group.name.split(":")[0]
            module = _module(work.model, place)
            key = (type(module), group.kind, group.width)
            if key not in tried:
                tried[key] = _numbers(module, group.width) < 2 and not _runs(work, group, errors)
            if tried[key]:
                reason = f"{place} sizes queries, keys and values of a head by one number"
                yield evolve(group, frozen=reason)
                continue
        yield group


def _module(model: nn.Module, place: str) -> nn.Module:
    """Return the module of a path; a group of the model itself is called ``model``."""
    modules: dict[str, nn.Module] = dict(model.named_modules())
    return modules.get(place, model)


def _numbers(module: nn.Module, size: int) -> int:
    """Return how many integers of a module, or of its config, are a head size."""
    own = {name: value for name, value in vars(module).items() if name not in _BOOKKEEPING}
    config = getattr(own.get("config"), "__dict__", {})
    return max(_count(own, size), _count(config, size))


def _count(values: Mapping[str, Any], size: int) -> int:
    entries = (
        entry
        for value in values.values()
        for entry in (value if isinstance(value, tuple | list) else [value])
    )
    return sum(type(entry) is int and entry == size for entry in entries)


def _runs(work: Pass, group: ChannelGroup, errors: tuple[type[Exception], ...]) -> bool:
    """Whether a forward runs with one node of a group less, and all numbers as they are."""
    less: dict[str, dict[int, int]] = {}
    for part in group.slices:
        axes = less.setdefault(part.parameter, {})
        axes[part.axis] = max(axes.get(part.axis, 0), part.extent.inner * part.extent.outer)
    try:
        resized_pass(work, less)
    except errors:
        return False
    return True

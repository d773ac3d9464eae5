"""Planning: from metrics to the union of their statistics, within the memory budget."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from attrs import evolve
from torch import nn

from nodelens.capture.plan.budget import within
from nodelens.capture.plan.capture_plan import (
    BlockEntry,
    CapturePlan,
    InputEntry,
    LossEntry,
    PairEntry,
    PlanEntry,
)
from nodelens.capture.producer_inputs import input_shape
from nodelens.errors import ModelError
from nodelens.interfaces.statistic import Layout, ReadPoint, covering
from nodelens.statistics.moments import Moments

if TYPE_CHECKING:
    from nodelens.channels.groups import ChannelGraph, ChannelGroup, SitePoint
    from nodelens.interfaces.metric import Metric

NODE_PLACES: tuple[SitePoint, ...] = ("activation", "preactivation")
LOSSES = Moments(reads="loss")
"""The statistic of the loss of each row, kept wherever a loss is computed (block B0)."""


def make_plan(
    graph: ChannelGraph,
    metrics: Sequence[Metric],
    folds: int = 8,
    classes: int = 0,
    *,
    model: nn.Module | None = None,
    budget: int | None = None,
) -> CapturePlan:
    """Return the union of the statistics that `metrics` need, on every group that can be read.

    `model` is needed by statistics of inputs and weights; `budget` is in bytes, None for no limit.
    Groups whose nodes no module's input shows are listed in `unread` with the reason. Raises
    `ModelError` when there are metrics and no group that they could score, or when one state alone
    exceeds the budget.
    """
    needed = _cheapest(statistic for metric in metrics for statistic in metric.statistics)
    readable = [group for group in graph if group.at("activation")]
    unread = _unread(graph)
    if metrics and not readable:
        found = "; ".join(f"{name}: {reason}" for name, reason in unread.items())
        raise ModelError(
            f"the model has no nodes that can be scored: {found or graph.note or 'no weights'}"
        )
    inputs, input_of = _inputs(graph, readable, needed, model)
    blocks = _blocks(graph, needed)
    plan = CapturePlan(
        entries=tuple(PlanEntry(group, _at_nodes(graph, group, needed)) for group in readable),
        folds=folds,
        classes=classes,
        unread=unread,
        inputs=inputs,
        pairs=_pairs(graph, readable, needed),
        visits=tuple(s for s in needed if s.reads == "model"),
        input_of=input_of | {entry.name: entry.name for entry in blocks},
        blocks=blocks,
        losses=_losses(needed),
    )
    return plan if budget is None else within(plan, budget)


UNREADABLE: Mapping[str, str] = {
    "activation": "no group shows its activations",
    "preactivation": "no group shows its pre-activations",
    "pair": "fewer than two groups can be read",
    "block": "there is no block from a residual stream to itself",
    "input": "no layer has an input that can be unfolded",
    "weight": "no layer has an input that can be unfolded",
}


def unreadable(graph: ChannelGraph, metric: Metric, model: nn.Module) -> str:
    """Return why a model has no place that a metric can be scored at; nothing if there is one."""
    plan = make_plan(graph, [metric], model=model)
    read = {s for entry in plan.everything for s in entry.statistics} | {*plan.visits}
    missing = [s for s in metric.statistics if covering(s, read) is None]
    return UNREADABLE[missing[0].reads] if missing else ""


def _unread(graph: ChannelGraph) -> dict[str, str]:
    """Return the groups that cannot be read, and why."""
    return {
        group.name: group.frozen or "no module's input shows it"
        for group in graph
        if not group.at("activation")
    }


def _cheapest(statistics: Iterable[Any]) -> tuple[Any, ...]:
    """Return each statistic once, without those that another one covers."""
    asked = tuple(dict.fromkeys(statistics))
    return tuple(s for s in asked if covering(s, [t for t in asked if t != s]) is None)


def _at_nodes(graph: ChannelGraph, group: ChannelGroup, needed: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the statistics of the points of a group that can be read sample by sample."""
    read = {place for place in NODE_PLACES if not graph.unreadable(group, place)}
    return tuple(s for s in needed if s.reads in read)


def _pairs(
    graph: ChannelGraph, groups: Sequence[ChannelGroup], needed: tuple[Any, ...]
) -> tuple[PairEntry, ...]:
    chosen = tuple(s for s in needed if s.reads == "pair")
    if not chosen:
        return ()
    whole = (group for group in groups if not group.part_of)
    return tuple(
        PairEntry(*pair, chosen)
        for pair in pairwise(whole)
        if not any(graph.unreadable(group, "activation") for group in pair)
    )


def _blocks(graph: ChannelGraph, needed: tuple[Any, ...]) -> tuple[BlockEntry, ...]:
    chosen = tuple(s for s in needed if s.reads == "block")
    if not chosen:
        return ()
    return tuple(
        BlockEntry(block, graph[block.group].width, chosen)
        for block in graph.blocks
        if not graph.unreadable_module(block.module)
    )


def _losses(needed: tuple[Any, ...]) -> tuple[LossEntry, ...]:
    """Return the entry of the loss: its moments are kept wherever gradients need it."""
    asked = tuple(s for s in needed if s.reads == "loss")
    computed = any("gradient" in getattr(s, "requires", ()) for s in needed if s.reads != "model")
    kept = (LOSSES,) if computed and covering(LOSSES, asked) is None else ()
    return (LossEntry((*asked, *kept)),) if asked or kept else ()


def producers_of(group: ChannelGroup) -> tuple[str, ...]:
    """Return the paths of the modules whose weights write a group's nodes, each once."""
    paths = (part.module for part in group.weights("producer"))
    return tuple(dict.fromkeys(paths))


def _inputs(
    graph: ChannelGraph,
    groups: Sequence[ChannelGroup],
    needed: tuple[Any, ...],
    model: nn.Module | None,
) -> tuple[tuple[InputEntry, ...], dict[str, str]]:
    """Return the entries of inputs and weights, one for all modules that read one tensor."""
    asked = tuple(s for s in needed if s.reads in ("input", "weight"))
    if not asked:
        return (), {}
    if model is None:
        raise ValueError("statistics of inputs need the model: make_plan(..., model=model)")
    read = _values_read(graph)
    entries: dict[object, InputEntry] = {}
    input_of: dict[str, str] = {}
    for path, places in _modules(groups).items():
        module = model.get_submodule(path)
        for place in places:
            chosen = tuple(s for s in asked if s.reads == place)
            layout = _layout(module) if chosen else None
            if layout is None or graph.unreadable_module(path):
                continue
            plain = place == "input" and isinstance(module, nn.Linear) and path in read
            key = (read[path], layout.width) if plain else (path, place)
            shape = evolve(layout, others=0) if place == "input" else layout
            entry = entries.setdefault(key, InputEntry(path, place, chosen, shape))
            input_of[_key(path, place)] = entry.name
    return tuple(entries.values()), input_of


def _modules(groups: Sequence[ChannelGroup]) -> dict[str, tuple[ReadPoint, ...]]:
    """Return the modules of weights that write or read nodes, with their read points."""
    found: dict[str, tuple[ReadPoint, ...]] = {}
    for group in groups:
        found |= dict.fromkeys(producers_of(group), ("input", "weight"))
    for part in (part for group in groups for part in group.weights("consumer")):
        found.setdefault(part.module, ("weight",))
    return found


def _key(path: str, place: ReadPoint) -> str:
    return f"{path} ({place})"


def _layout(module: nn.Module) -> Layout | None:
    shape = input_shape(module)
    if shape is None:
        return None
    return Layout(shape.features, 1, blocks=shape.blocks, others=shape.outputs)


def _values_read(graph: ChannelGraph) -> dict[str, tuple[int, ...]]:
    """Return the value numbers of the first input of each module with a site there.

    One for each call, in order.
    """
    found: dict[str, dict[int, int]] = {}
    for site in (site for group in graph for site in group.sites):
        if site.end == "input" and site.argument in (0, "input"):
            found.setdefault(site.module, {})[site.call] = site.value
    return {path: tuple(calls[n] for n in sorted(calls)) for path, calls in found.items()}

"""Reader of every group's activations and gradients, one batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from attrs import define, evolve, field, frozen
from torch import Tensor, nn

from nodelens.capture.hooks.propagation import read_batch
from nodelens.capture.hooks.recorder import Recorder
from nodelens.capture.plan.capture_plan import CapturePlan, PlanEntry
from nodelens.capture.request import CaptureRequest

if TYPE_CHECKING:
    from nodelens.capture.batches import Batch
    from nodelens.channels.groups import ChannelGraph
    from nodelens.interfaces.statistic import Layout, Need, Reading, ReadPoint, State


@define(eq=False)
class _Keep:
    """Statistic that keeps the last reading of a group."""

    last: Reading | None = None
    reads: ReadPoint = "activation"
    requires: frozenset[Need] = frozenset({"gradient", "whole_rows"})

    def floats(self, layout: Layout) -> int:
        """One number per fold, a placeholder for the plan."""
        return layout.folds

    def start(self, layout: Layout) -> State:
        """Return a state that only holds the layout's device."""
        from nodelens.statistics.rows import zeros

        return {"nothing": zeros(layout)}

    def update(self, state: State, reading: Reading) -> None:
        """Keep a copy of the reading: the model may change the tensor in place."""
        self.last = evolve(reading, values=reading.values.clone(), shared={})

    def merge(self, state: State, other: State) -> None:
        """Nothing is added up."""

    def summary(self, state: State, keep: Tensor) -> None:
        """Nothing is added up."""


@frozen(eq=False)
class Reader:
    """Reader of activations and gradients as in a capture: padding, heads and packed rows.

    `explained` maps output and batch to one number per row, whose gradient is computed.
    """

    request: CaptureRequest
    recorder: Recorder
    keeps: Mapping[str, _Keep]
    values: list[Tensor] = field(factory=list)

    def read(self, batch: Batch) -> tuple[dict[str, Reading], Tensor]:
        """Return the reading of every group, and each row's explained number, ``(rows,)``."""
        read_batch(self.request, self.recorder, batch)
        readings = {name: keep.last for name, keep in self.keeps.items() if keep.last is not None}
        return readings, self.values.pop()


@contextmanager
def reading(
    model: nn.Module,
    graph: ChannelGraph,
    groups: Iterable[str],
    explained: Callable[[Any, Batch], Tensor],
) -> Iterator[Reader]:
    """Give a reader of some groups while its hooks are in the model."""
    keeps = {name: _Keep() for name in groups}
    values: list[Tensor] = []

    def noted(output: Any, batch: Batch) -> Tensor:
        value = explained(output, batch)
        values.append(value.detach().double())
        return value

    entries = tuple(PlanEntry(graph[name], (keep,)) for name, keep in keeps.items())
    plan = CapturePlan(entries, folds=1)
    request = CaptureRequest(model, graph, (), plan, torch.device("cpu"), noted)
    recorder = Recorder(plan, graph, entries)
    with recorder.attached(model):
        yield Reader(request, recorder, keeps, values)

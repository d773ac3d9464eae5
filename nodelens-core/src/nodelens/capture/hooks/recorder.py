"""The recorder: updates statistics from the tensors that a model's modules read and return."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from attrs import define, evolve, field
from torch import Tensor, nn

from nodelens.capture.batches import Batch
from nodelens.capture.counts import Counts
from nodelens.capture.hooks.accumulator import Accumulator, States
from nodelens.capture.hooks.batch_forward import (
    BatchForward,
    FiniteCheck,
    check_unchanged,
    version_of,
)
from nodelens.capture.hooks.edge_gradients import own_edges
from nodelens.capture.hooks.hook_points import (
    GRADIENTS,
    TWO_SIDED,
    HookPoint,
    hook_points_of,
)
from nodelens.capture.hooks.hook_readings import gradient_at, loss_reading, reading_at
from nodelens.capture.hooks.site_hooks import attached
from nodelens.capture.hooks.site_reading import by_row
from nodelens.capture.plan.capture_plan import CapturePlan, Entry, LossEntry
from nodelens.channels.groups import ChannelGraph, Site
from nodelens.errors import CaptureError, ModelError, NotFiniteError
from nodelens.statistics.rows import mean_of
from nodelens.statistics.sums import finite_sums

if TYPE_CHECKING:
    from nodelens.interfaces.statistic import Reading

QUEUE = 2**23
"""The most bytes of tensors that wait to be read together, if nothing changes them.

Between the layers of a model, whose weights and activations have emptied the caches of a processor,
the same lines of Python take several times as long.
"""


@define(eq=False)
class Recorder:
    """Updates the statistics of some entries from the tensors that modules read and return."""

    plan: CapturePlan
    graph: ChannelGraph
    entries: Sequence[Entry]
    states: States = field(factory=dict)
    counts: Counts = field(factory=Counts)
    observe: Callable[[Site, Batch], None] | None = None
    pivots: dict[tuple[str, str], Tensor] = field(factory=dict)
    points: tuple[HookPoint, ...] = field(init=False)
    _into: Accumulator = field(init=False)
    _hasty: bool = field(init=False)
    _now: BatchForward | None = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self.points = tuple(
            point for entry in self.entries for point in hook_points_of(entry, self.graph)
        )
        self._hasty = not self.graph.traced or any(point.graded for point in self.points)
        self._into = Accumulator(self.plan, self.states, self.counts)

    @property
    def reads_losses(self) -> bool:
        """Whether statistics read the loss of each row."""
        return any(isinstance(entry, LossEntry) for entry in self.entries)

    @contextmanager
    def attached(self, model: nn.Module) -> Iterator[None]:
        """Read the modules of `model` while the context is open."""
        reading = attached(model, self.points, self._read, self._called, self.graph.operators)
        with own_edges(model, self.points), reading:
            yield

    def begin(self, batch: Batch) -> None:
        """Prepare for one forward of `batch`."""
        self._now = BatchForward.of(batch)

    def forwarded(self, outputs: Tensor | None) -> None:
        """Update statistics that wait for numbers of the output, ``(rows, positions or 1, 3)``."""
        now = self._during()
        self._catch_up(now)
        self._lose_uncalled(now)
        for point, reading, version in now.afterwards:
            with self._or_lost(point, point.requiring("outputs")):
                check_unchanged(point, reading.values, version)
                full = evolve(reading, outputs=now.outputs_for(reading, outputs), shared={})
                self._into.update(now, point, point.after_forward, full)
        now.afterwards.clear()
        now.outputs = outputs

    def _lose_uncalled(self, now: BatchForward) -> None:
        """Give up the places of modules that the forward has left out, unlike the example's."""
        for point in self.points if self.graph.traced else ():
            path = point.site.module
            known = 0 if point.site.end == "operand" else self.graph.calls.get(path, 0)
            if now.calls[path] < known:
                self._into.lose(point.entry, point.statistics, _fewer_calls(path, now.batch.number))

    def take_losses(self, losses: Tensor, labels: Tensor) -> None:
        """Update statistics of the loss of each row and its number of labels, ``(rows,)``."""
        now = self._during()
        reading = loss_reading(now, losses.detach(), labels, self.plan.folds)
        self._into.add_losses(reading)
        now.sums.append(FiniteCheck(losses.detach().unsqueeze(1), now.numbers, "the loss", nodes=0))

    def begin_backward(self, labels: str) -> None:
        """Set whose labels the coming gradients belong to: ``data`` or ``model``."""
        self._during().begin_backward(labels)

    def lose_gradients(self, labels: str, reason: str) -> None:
        """Give up the statistics of gradients of the loss with some labels."""
        for point in self.points:
            self._into.lose(point.entry, point.requiring(GRADIENTS[labels]), reason)

    def lose_missing(self, reason: str) -> None:
        """Give up the statistics whose gradient has not arrived in the batch."""
        self._lose_missing(self._during(), reason)

    def _lose_missing(self, now: BatchForward, reason: str) -> None:
        for point, statistics in now.without_gradient():
            self._into.lose(point.entry, statistics, f"{point.site.name}: {reason}")

    def end(self) -> None:
        """Update statistics that were held, check gradients and numbers, release the batch."""
        now = self._during()
        self._now = None
        self._lose_missing(now, "it got no gradient, the loss does not depend on it")
        self._into.finish(now)
        now.check_sums()

    def forget(self) -> None:
        """Release a batch that has not reached its end."""
        self._now = None

    def _during(self) -> BatchForward:
        assert self._now is not None
        return self._now

    def _called(self, path: str) -> None:
        """Count a call; a recomputation repeats the calls of the forward."""
        now = self._now
        if now is None or now.backward:
            return
        now.calls[path] += 1
        known = self.graph.calls.get(path, now.calls[path])
        if now.calls[path] <= known:
            return
        if self.graph.traced:
            for point in self.points:
                if point.site.module == path:
                    self._into.lose(point.entry, point.statistics, _more_calls(path, known))
            return
        self.counts.beyond[path] += 1

    def _read(self, point: HookPoint, path: str, module: nn.Module, tensor: Tensor) -> None:
        """Read one tensor of a running module, in the forward or in a recomputation."""
        now = self._now
        if now is None:
            return
        if now.backward:
            with self._or_lost(point, point.of_gradients):
                self._recomputed(point, path, module, tensor)
        elif point.site.end == "operand" or point.site.call == now.calls[path]:
            if self._may_wait(point, tensor):
                self._wait(now, point, module, tensor)
                return
            self._catch_up(now)
            with self._or_lost(point, point.statistics):
                reading = self._record(point, module, tensor)
                if point.graded:
                    self._await_gradient(point, module, tensor, reading)

    @contextmanager
    def _or_lost(self, point: HookPoint, statistics: Iterable[object]) -> Iterator[None]:
        """Give up statistics of a place that cannot be read, and go on with the others."""
        try:
            yield
        except (NotFiniteError, torch.OutOfMemoryError):
            raise
        except (CaptureError, ModelError, RuntimeError, IndexError) as error:
            self._into.lose(point.entry, statistics, str(error))

    def _may_wait(self, point: HookPoint, tensor: Tensor) -> bool:
        """Whether a tensor on the CPU is unchanged until the batch ends, as the trace has shown.

        Writes that the trace misses are found by the tensor's version, but for writes through numpy
        or a pointer. Nothing is known about outputs of blocks and inputs of modules.
        """
        if self._hasty or point.overwritten or point.place not in ("activation", "preactivation"):
            return False
        return tensor.is_cpu and not tensor.is_inference()

    def _wait(self, now: BatchForward, point: HookPoint, module: nn.Module, tensor: Tensor) -> None:
        now.queue.append((point, module, tensor, version_of(tensor)))
        now.queued += tensor.untyped_storage().nbytes()
        if now.queued >= QUEUE:
            self._catch_up(now)

    def _catch_up(self, now: BatchForward) -> None:
        """Read the tensors that wait, in the order of their arrival."""
        for point, module, tensor, version in now.queue:
            with self._or_lost(point, point.statistics):
                check_unchanged(point, tensor, version)
                self._record(point, module, tensor)
        now.queue.clear()
        now.queued = 0

    def _recomputed(self, point: HookPoint, path: str, module: nn.Module, tensor: Tensor) -> None:
        """Read the gradient where checkpointing ran the first forward without gradients."""
        now = self._during()
        if point.name not in now.late or not tensor.requires_grad:
            return
        if now.calls[path] > 1 or point.site.end == "operand":
            raise CaptureError(
                f"{point.site.name}: {path or 'the model'} reads several tensors in one forward, "
                "and their recomputations cannot be distinguished; use "
                "torch.utils.checkpoint with use_reentrant=False"
            )
        reading = self._reading(point, module, tensor)
        self._await_gradient(point, module, tensor, reading)

    def _record(self, point: HookPoint, module: nn.Module, tensor: Tensor) -> Reading:
        now = self._during()
        self.counts.fired[point.name] += 1
        reading = self._reading(point, module, tensor)
        self._into.update(now, point, point.at_once, reading)
        if point.place != "weight" or not point.second:
            sums = finite_sums(reading, gradient=False)
            now.sums.append(FiniteCheck(sums, _index(reading), point.read, _nodes(reading)))
        if point.after_forward:
            kept = _kept(reading, point)
            now.afterwards.append((point, kept, version_of(kept.values)))
        if self.observe is not None:
            self.observe(point.site, now.batch)
        return reading

    def _await_gradient(
        self, point: HookPoint, module: nn.Module, tensor: Tensor, reading: Reading
    ) -> None:
        """Update gradient statistics when a backward pass reaches `tensor`."""
        now = self._during()
        if not tensor.requires_grad:
            if torch.is_grad_enabled():
                self._into.lose(point.entry, point.of_gradients, _no_gradient(point))
                return
            now.late.add(point.name)  # a recomputation of checkpointing may bring the gradient
        now.graded[point.name] = point
        if not tensor.requires_grad:
            return
        kept = evolve(reading, values=reading.values.clone()) if point.overwritten else reading
        version = version_of(kept.values)

        def arrived(gradient: Tensor) -> None:
            now.arrived[now.labels, point.name] += 1
            with self._or_lost(point, point.of_gradients):
                check_unchanged(point, kept.values, version)
                outputs = now.outputs_for(kept, now.outputs)
                blank = gradient_at(now, point, module, gradient, kept)
                full = evolve(kept, gradient=blank, outputs=outputs, shared={})
                self._into.update(now, point, point.after_backward[now.labels], full)
                sums, what = finite_sums(full, gradient=True), f"the gradient at {point.site.name}"
                now.sums.append(FiniteCheck(sums, _index(kept), what, _nodes(kept)))

        tensor.register_hook(arrived)  # type: ignore[no-untyped-call]

    def _reading(self, point: HookPoint, module: nn.Module, tensor: Tensor) -> Reading:
        now = self._during()
        if point.place == "weight" and point.second:
            return now.first[point.entry.name]
        key = (point.entry.name, point.place)
        reading = reading_at(now, point, module, tensor, self.plan.folds, self.pivots.get(key))
        if reading.pivot is None and point.place not in TWO_SIDED:
            self.pivots[key] = self._pivot(point, reading)
            reading = evolve(reading, pivot=self.pivots[key], shared=reading.shared)
        if point.place == "weight":
            kept = reading.values.clone() if point.overwritten else reading.values
            now.first[point.entry.name] = evolve(reading, values=kept, shared={})
        return reading

    def _pivot(self, point: HookPoint, reading: Reading) -> Tensor:
        """Return the common pivot of all statistics of an entry and place."""
        found = self._into.pivots_of(point)
        known = [pivot for pivot in found if len(pivot) == reading.values.shape[-1]]
        pivot = known[0] if known else _finite(mean_of(reading))
        return pivot.to(reading.values.device)


def _finite(pivot: Tensor) -> Tensor:
    """Return a finite pivot, about which finite values are finite."""
    return pivot.where(pivot.isfinite(), 0.0)


def _index(reading: Reading) -> Tensor:
    assert reading.index is not None
    return reading.index


def _nodes(reading: Reading) -> int:
    return reading.values.shape[-1] // reading.components


def _kept(reading: Reading, point: HookPoint) -> Reading:
    """Return the reading to keep until the forward has ended: row means where these suffice."""
    if reading.targets is None or point.several:
        values = reading.values.clone() if point.overwritten else reading.values
        return evolve(reading, values=values)
    return by_row(reading)


def _no_gradient(point: HookPoint) -> str:
    return (
        f"{point.site.name}: no gradient reaches it; the model detaches it, makes it of constants "
        "(a first hidden state), or looks it up in a table that is no nn.Embedding"
    )


def _fewer_calls(path: str, number: int) -> str:
    return (
        f"{path or 'the model'} was called less often in batch {number} than on the example, and "
        "what is read elsewhere there would be left out; give batches on which the model takes the "
        "same path"
    )


def _more_calls(path: str, known: int) -> str:
    times = "once" if known == 1 else f"{known} times"
    return (
        f"{path or 'the model'} was called more often than on the example ({times}), "
        "and what it reads then would be left out; give batches and an example on which the model "
        "takes the same path, such as rows padded to one length"
    )

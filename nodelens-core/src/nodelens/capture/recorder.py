"""What is done with the tensors that a model's modules read and return: statistics updated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from attrs import define, evolve, field
from torch import Tensor, nn

from nodelens.capture.batches import Batch
from nodelens.capture.forward import Forward, Sums, check_unchanged, version_of
from nodelens.capture.hooks import attached
from nodelens.capture.inputs import features_of, outputs_of
from nodelens.capture.plan import CapturePlan, Entry
from nodelens.capture.reading import (
    Positions,
    beside,
    by_row,
    finite_sums,
    flat_positions,
    grid_of,
    joined,
    nodes_of,
    on_device,
    plain_nodes,
    samples_first,
    valid_positions,
)
from nodelens.capture.taps import GRADIENTS, TWO_SIDED, Tap, taps_of
from nodelens.channels.groups import ChannelGraph, Site
from nodelens.errors import CaptureError
from nodelens.statistics.contract import Reading, State, Statistic
from nodelens.statistics.rows import mean_of

States = dict[str, dict[Any, State]]


@define(eq=False)
class Recorder:
    """Updates the statistics of some entries from what a model's modules read and return."""

    plan: CapturePlan
    graph: ChannelGraph
    entries: Sequence[Entry]
    states: States = field(factory=dict)
    fired: Counter[str] = field(factory=Counter)
    observe: Callable[[Site, Batch], None] | None = None
    pivots: dict[tuple[str, str], Tensor] = field(factory=dict)
    taps: tuple[Tap, ...] = field(init=False)
    _now: Forward | None = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self.taps = tuple(tap for entry in self.entries for tap in taps_of(entry, self.graph))

    @contextmanager
    def attached(self, model: nn.Module) -> Iterator[None]:
        """Read the modules of `model` while the context is open."""
        with attached(model, self.taps, self._read, self._called):
            yield

    def begin(self, batch: Batch) -> None:
        """Get ready for one forward of `batch`."""
        self._now = Forward.of(batch)

    def forwarded(self, outputs: Tensor | None) -> None:
        """Take in what the output says of each row or position, ``(rows, positions or 1, 3)``."""
        now = self._during()
        for tap, reading, version in now.afterwards:
            check_unchanged(tap, reading, version)
            full = evolve(reading, outputs=now.outputs_for(reading, outputs), shared={})
            self._update(tap, tap.after_forward(), full)
        now.afterwards.clear()
        now.outputs = outputs

    def begin_backward(self, labels: str) -> None:
        """Say whose labels the gradients that now arrive belong to: ``data`` or ``model``."""
        self._during().begin_backward(labels)

    def end(self) -> None:
        """Finish what needs whole rows, check gradients and numbers, let go of the batch."""
        now = self._during()
        self._now = None
        now.check_gradients()
        for (_, statistic), (entry, readings) in now.held.items():
            self._add(entry, statistic, joined(readings))
        now.check_sums()

    def forget(self) -> None:
        """Let go of a batch that has not come to its end."""
        self._now = None

    def _during(self) -> Forward:
        assert self._now is not None
        return self._now

    def _called(self, path: str) -> None:
        """Count a call; the calls of a recomputation are those of the forward once more."""
        if self._now is not None and not self._now.backward:
            self._now.calls[path] += 1

    def _read(self, tap: Tap, path: str, module: nn.Module, tensor: Tensor) -> None:
        """Read one tensor of a module that runs, in the forward or in a recomputation of it."""
        now = self._now
        if now is None:
            return
        if now.backward:
            self._recomputed(tap, path, module, tensor)
        elif tap.site.end == "operand" or tap.site.call == now.calls[path]:
            with _unhalved(tensor.device):
                reading = self._record(tap, module, tensor)
            if tap.graded:
                now.graded[tap.name] = tap
                self._await_gradient(tap, module, tensor, reading)

    def _recomputed(self, tap: Tap, path: str, module: nn.Module, tensor: Tensor) -> None:
        """Take the gradient where checkpointing ran the first forward without one."""
        now = self._during()
        if tap.name not in now.late or not tensor.requires_grad:
            return
        if now.calls[path] > 1 or tap.site.end == "operand":
            raise CaptureError(
                f"{tap.site.name}: {path or 'the model'} reads several tensors in one forward, and "
                "their recomputations cannot be told apart; use "
                "torch.utils.checkpoint with use_reentrant=False"
            )
        with _unhalved(tensor.device):
            reading = self._reading(tap, module, tensor)
        self._await_gradient(tap, module, tensor, reading)

    def _record(self, tap: Tap, module: nn.Module, tensor: Tensor) -> Reading:
        now = self._during()
        self.fired[tap.name] += 1
        reading = self._reading(tap, module, tensor)
        self._update(tap, tap.at_once(), reading)
        if tap.place != "weight" or not tap.second:
            sums = finite_sums(reading, gradient=False)
            now.sums.append(Sums(sums, tap.site.name, "the activation"))
        if tap.after_forward():
            kept = _kept(reading, tap)
            now.afterwards.append((tap, kept, version_of(kept)))
        if self.observe is not None:
            self.observe(tap.site, now.batch)
        return reading

    def _await_gradient(
        self, tap: Tap, module: nn.Module, tensor: Tensor, reading: Reading
    ) -> None:
        """Update gradient statistics when a backward pass reaches `tensor`."""
        now = self._during()
        if not tensor.requires_grad:
            _check_late(tap)
            now.late.add(tap.name)
            return
        kept = evolve(reading, values=reading.values.clone()) if tap.overwritten else reading
        version = version_of(kept)

        def arrived(gradient: Tensor) -> None:
            check_unchanged(tap, kept, version)
            now.arrived[now.labels, tap.name] += 1
            with _unhalved(gradient.device):
                laid = self._positions(tap, module, gradient.detach())
                blank = _blank(laid.values, kept.valid if laid.tokens else None)
                outputs = now.outputs_for(kept, now.outputs)
                full = evolve(kept, gradient=blank, outputs=outputs, shared={})
                self._update(tap, tap.requiring(GRADIENTS[now.labels]), full)
                sums = finite_sums(full, gradient=True)
            now.sums.append(Sums(sums, tap.site.name, "the gradient"))

        tensor.register_hook(arrived)  # type: ignore[no-untyped-call]

    def _positions(self, tap: Tap, module: nn.Module, tensor: Tensor) -> Positions:
        """Return ``(rows, positions, nodes)``, every packed sequence a row of its own."""
        now = self._during()
        name, rows = tap.site.name, now.batch.rows
        if now.batch.length is None and tap.place not in ("input", "weight"):
            plain = plain_nodes(tensor, tap.site, tap.rows, rows)
            if plain is not None:
                return Positions(plain, tokens=False)
        if tap.place in ("input", "weight"):
            shaped = outputs_of if tap.second else features_of
            found = samples_first(shaped(module, tensor), tap.rows, rows, name).unsqueeze(-2)
        else:
            found = nodes_of(tensor, tap.site, tap.rows, rows)
        laid = flat_positions(found, now.batch.length, name)
        if now.segments is None or (now.segments.start is None and not laid.tokens):
            return laid
        if not laid.tokens:
            raise CaptureError(f"{name} has one position for all sequences of a packed row")
        return evolve(laid, values=now.segments.unpack(laid.values))

    def _reading(self, tap: Tap, module: nn.Module, tensor: Tensor) -> Reading:
        now = self._during()
        if tap.place == "weight" and tap.second:
            return now.first[tap.entry.name]
        laid = self._positions(tap, module, tensor.detach())
        device = laid.values.device
        valid = None
        if laid.tokens and (mask := now.mask) is not None:
            valid = valid_positions(mask, laid.values)
        index = (now.rows if laid.tokens else now.numbers).to(device)
        labels, start = now.batch.targets, now.start if laid.tokens else None
        reading = Reading(
            _blank(laid.values, valid),
            now.folds(self.plan.folds, laid.tokens).to(device),
            valid=valid,
            targets=labels.to(device) if labels is not None and labels.ndim == 1 else None,
            index=index,
            grid=grid_of(tensor, tap.site, tap.rows, now.batch.rows) if tap.mapped else (),
            parts=tap.parts,
            start=None if start is None else start.to(device),
            site=tap.number,
        )
        if tap.place not in TWO_SIDED:
            reading = evolve(reading, pivot=self._pivot(tap, reading), shared=reading.shared)
        if tap.place == "weight":
            kept = reading.values.clone() if tap.overwritten else reading.values
            now.first[tap.entry.name] = evolve(reading, values=kept, shared={})
        return reading

    def _pivot(self, tap: Tap, reading: Reading) -> Tensor:
        """Return the pivot that all statistics of an entry and place share."""
        key = (tap.entry.name, tap.place)
        if key not in self.pivots:
            states = self.states.get(tap.entry.name, {})
            width = reading.values.shape[-1]
            found = [state["pivot"] for s, state in states.items() if _at(s, tap, state)]
            known = [pivot for pivot in found if len(pivot) == width]
            self.pivots[key] = known[0] if known else mean_of(reading)
        return self.pivots[key].to(reading.values.device)

    def _update(self, tap: Tap, statistics: tuple[Statistic[Any], ...], reading: Reading) -> None:
        if tap.place in TWO_SIDED:
            self._pair(tap, statistics, reading)
            return
        for statistic in statistics:
            if tap.several and "whole_rows" in statistic.requires:
                key, held = (tap.entry.name, statistic), self._during().held
                held.setdefault(key, (tap.entry, []))[1].append(reading)
            else:
                self._add(tap.entry, statistic, reading)

    def _pair(self, tap: Tap, statistics: tuple[Statistic[Any], ...], reading: Reading) -> None:
        """Update when both tensors of a pair have been read."""
        waiting = self._during().first
        other = waiting.pop(tap.entry.name, None)
        if other is None:
            kept = reading.values.clone() if tap.overwritten else reading.values
            waiting[tap.entry.name] = evolve(reading, values=kept, shared={})
            return
        first, second = (other, reading) if tap.second else (reading, other)
        both = beside(first, on_device(second, first.values.device))
        for statistic in statistics:
            self._add(tap.entry, statistic, both)

    def _add(self, entry: Entry, statistic: Statistic[Any], reading: Reading) -> None:
        """Update one state, on the device where the first site of its entry is."""
        states = self.states.setdefault(entry.name, {})
        if statistic not in states:
            device = reading.values.device
            states[statistic] = statistic.start(self.plan.layout(entry, statistic, device))
        state, folds = states[statistic], self.plan.folds_of(statistic)
        here = on_device(reading, next(iter(state.values())).device)
        statistic.update(state, here if folds == self.plan.folds else here.in_folds(folds))


@contextmanager
def _unhalved(device: torch.device) -> Iterator[None]:
    """Let products be taken in the precision of their factors, also in regions of autocast."""
    if not torch.is_autocast_enabled(device.type):
        yield
        return
    with torch.autocast(device.type, enabled=False):
        yield


def _at(statistic: Any, tap: Tap, state: State) -> bool:  # noqa: ANN401
    of_values = getattr(statistic, "of", "value") == "value"
    return statistic.tap == tap.place and of_values and "pivot" in state


def _blank(values: Tensor, valid: Tensor | None) -> Tensor:
    return values if valid is None else values.masked_fill(~valid.unsqueeze(-1), 0.0)


def _kept(reading: Reading, tap: Tap) -> Reading:
    """Return what is kept until the forward has ended: row means where they will do."""
    if reading.targets is None or tap.several:
        values = reading.values.clone() if tap.overwritten else reading.values
        return evolve(reading, values=values)
    return by_row(reading)


def _check_late(tap: Tap) -> None:
    """Raise `CaptureError` unless a recomputation of checkpointing may bring the gradient."""
    if torch.is_grad_enabled():
        raise CaptureError(
            f"{tap.site.name}: no gradient reaches it; the model detaches its input, or looks it "
            "up in a table that is no nn.Embedding"
        )

"""The accumulator: updates the states of every place with readings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from attrs import define, evolve, field

from nodelens.capture.counts import Counts
from nodelens.capture.hooks.hook_points import TWO_SIDED, HookPoint
from nodelens.capture.hooks.site_reading import beside, joined, on_device, without_values
from nodelens.capture.plan.capture_plan import CapturePlan, Entry
from nodelens.capture.product_precision import exact_products
from nodelens.errors import NodelensError
from nodelens.interfaces.statistic import Reading, State, Statistic
from nodelens.statistics.sample_draws import some_samples
from nodelens.statistics.sums import take

if TYPE_CHECKING:
    from nodelens.capture.hooks.batch_forward import BatchForward
    from nodelens.capture.hooks.update_schedule import UpdateSchedule

States = dict[str, dict[Any, State]]
"""States by place and statistic."""


@define(eq=False)
class Accumulator:
    """Adds readings to states, which start at the first reading of a place."""

    plan: CapturePlan
    states: States = field(factory=dict)
    counts: Counts = field(factory=Counts)

    def update(
        self, now: BatchForward, point: HookPoint, statistics: UpdateSchedule, reading: Reading
    ) -> None:
        """Update statistics of a hook point, or hold their readings until the batch has ended.

        Gate sums are taken last: `GradientMoments` computes them.
        """
        if point.place in TWO_SIDED:
            both = _both(now, point, reading)
            if both is not None:
                self._add_all(now, point, statistics.statistics, both)
            return
        summed = statistics.by_sums if reading.pivot is not None else ()
        if summed and reading.gradient is None:
            take(reading, statistics.sums)
        soon, late = statistics.sorted(reading)
        if soon:
            self._add_all(now, point, soon, reading)
        if not late:
            return
        known = [s for s in late if s in summed]
        if known:
            take(reading, statistics.sums)
            now.held.append((point.entry, known, without_values(reading)))
        others = [s for s in late if s not in summed]
        if others:
            now.held.append((point.entry, others, _copied(point, reading)))

    def finish(self, now: BatchForward) -> None:
        """Update the statistics that were held until the batch had ended."""
        found: dict[tuple[str, Statistic[Any]], tuple[Entry, list[Reading]]] = {}
        for entry, statistics, reading in now.held:
            for statistic in statistics:
                found.setdefault((entry.name, statistic), (entry, []))[1].append(reading)
        together: dict[tuple[int, ...], Reading] = {}
        for (_, statistic), (entry, readings) in found.items():
            same = tuple(map(id, readings))
            if same not in together:
                together[same] = joined(readings)
            self._add(entry, statistic, together[same])

    def add_losses(self, reading: Reading) -> None:
        """Update the statistics of the loss of each row."""
        for entry in self.plan.losses:
            for statistic in entry.statistics:
                self._add(entry, statistic, reading)

    def pivots_of(self, point: HookPoint) -> list[Any]:
        """Return the pivots of the statistics of a hook point's values."""
        states = self.states.get(point.entry.name, {})
        return [state["pivot"] for s, state in states.items() if _of_values(s, point, state)]

    def lose(self, entry: Entry, statistics: Iterable[object], reason: str) -> None:
        """Give up statistics of a place, with what was read for them so far."""
        lost = tuple(statistics)
        self.counts.lose(entry.name, lost, reason)
        for statistic in lost:
            self.states.get(entry.name, {}).pop(statistic, None)

    def _add_all(
        self,
        now: BatchForward,
        point: HookPoint,
        statistics: Sequence[Statistic[Any]],
        reading: Reading,
    ) -> None:
        """Update statistics with one reading, or with the fraction of samples that they read."""
        thinned = [s for s in statistics if self.plan.thins(s)]
        for statistic in statistics:
            if statistic not in thinned:
                self._add(point.entry, statistic, reading)
        if not thinned:
            return
        some = some_samples(reading, self.plan.position_fraction)
        if now.first_choice(point):
            self.counts.positions[point.name] += _samples(reading)
            self.counts.chosen[point.name] += len(some.fold)
        for statistic in thinned:
            self._add(point.entry, statistic, some)

    def _add(self, entry: Entry, statistic: Statistic[Any], reading: Reading) -> None:
        """Update one state, on the device where the first site of its entry is.

        A statistic whose own code raises is given up, and the others go on.
        """
        if self.counts.reason(entry.name, statistic):
            return
        states = self.states.setdefault(entry.name, {})
        if statistic not in states:
            device = reading.values.device
            states[statistic] = statistic.start(self.plan.layout(entry, statistic, device))
        if not len(reading.fold):
            return
        state, folds = states[statistic], self.plan.folds_of(statistic)
        here = on_device(reading, next(iter(state.values())).device)
        try:
            with exact_products(here.values.device.type):
                statistic.update(state, here if folds == self.plan.folds else here.in_folds(folds))
        except (NodelensError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - anyone's statistic
            self.counts.fail(entry.name, statistic, error)
            del states[statistic]


def _copied(point: HookPoint, reading: Reading) -> Reading:
    """Return a full copy of a reading; copies add up over the layers of a residual stream."""
    return evolve(reading, values=reading.values.clone()) if point.overwritten else reading


def _both(now: BatchForward, point: HookPoint, reading: Reading) -> Reading | None:
    """Return the reading of a pair once both of its tensors have been read, else None."""
    other = now.first.pop(point.entry.name, None)
    if other is None:
        kept = reading.values.clone() if point.overwritten else reading.values
        now.first[point.entry.name] = evolve(reading, values=kept, shared={})
        return None
    first, second = (other, reading) if point.second else (reading, other)
    return beside(first, on_device(second, first.values.device))


def _of_values(statistic: Any, point: HookPoint, state: State) -> bool:
    of_values = getattr(statistic, "of", "value") == "value"
    return statistic.reads == point.place and of_values and "pivot" in state


def _samples(reading: Reading) -> int:
    """Return how many samples a reading holds: its valid positions."""
    return reading.values[..., 0].numel() if reading.valid is None else int(reading.valid.sum())

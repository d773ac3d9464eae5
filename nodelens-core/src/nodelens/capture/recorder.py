"""Hooks that read places while a model runs, and only then."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from attrs import define, evolve, field, frozen
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from nodelens.capture.batches import Batch
from nodelens.capture.inputs import features_of, outputs_of
from nodelens.capture.plan import CapturePlan, Entry, InputEntry, PairEntry, PlanEntry
from nodelens.capture.reading import (
    Segments,
    check_finite,
    finite_sums,
    folds_of,
    grid_of,
    joined,
    nodes_of,
    parts_of,
    segments_of,
    valid_positions,
)
from nodelens.channels.groups import ChannelGroup, Site
from nodelens.errors import CaptureError
from nodelens.statistics.contract import Need, Place, Reading, State, Statistic
from nodelens.statistics.moments import row_means
from nodelens.statistics.rows import mean_of

States = dict[str, dict[Any, State]]
GRADIENTS: Mapping[str, Need] = {"data": "gradient", "model": "sampled_gradient"}
"""What a statistic requires that reads gradients of the loss with these labels."""


@frozen(eq=False)
class _Tapped:
    """One tensor that a module reads or returns, and the statistics that it goes into."""

    entry: Entry
    site: Site
    place: Place
    statistics: tuple[Statistic[Any], ...]
    several: bool = False
    second: bool = False

    @property
    def name(self) -> str:
        return f"{self.entry.name} @ {self.site.name}"

    def requiring(self, need: Need) -> tuple[Statistic[Any], ...]:
        return tuple(s for s in self.statistics if need in s.requires)

    def at_once(self) -> tuple[Statistic[Any], ...]:
        later = {"gradient", "sampled_gradient", "outputs"}
        return tuple(s for s in self.statistics if not s.requires & later)


@frozen(eq=False)
class _Sums:
    """Row sums that show whether everything in a reading was finite."""

    sums: Tensor
    name: str
    what: str


@define(eq=False)
class _Forward:
    """What one batch leaves behind between the hooks of its forward and backward pass."""

    batch: Batch
    numbers: Tensor
    segments: Segments | None
    backward: bool = False
    labels: str = "data"
    calls: Counter[str] = field(factory=Counter)
    waiting: Counter[str] = field(factory=Counter)
    missed: set[str] = field(factory=set)
    sums: list[_Sums] = field(factory=list)
    held: dict[tuple[str, Statistic[Any]], tuple[Entry, list[Reading]]] = field(factory=dict)
    pairs: dict[str, Reading] = field(factory=dict)
    inputs: dict[str, Reading] = field(factory=dict)
    afterwards: list[tuple[_Tapped, Reading]] = field(factory=list)


@define(eq=False)
class Recorder:
    """Updates the statistics of some entries from what a model's modules read and return."""

    plan: CapturePlan
    entries: Sequence[Entry]
    states: States = field(factory=dict)
    fired: Counter[str] = field(factory=Counter)
    observe: Callable[[Site, Batch], None] | None = None
    _now: _Forward | None = None
    _pivots: dict[tuple[str, str], Tensor] = field(factory=dict)

    def begin(self, batch: Batch) -> None:
        """Get ready for one forward of `batch`."""
        numbers = batch.numbers.cpu()
        self._now = _Forward(batch, numbers, segments_of(batch))

    def forwarded(self, outputs: Tensor | None) -> None:
        """Take in what the output says; what runs from here on is the backward pass."""
        now = self._during()
        for tapped, reading in now.afterwards:
            full = evolve(reading, outputs=outputs, shared={})
            self._update(tapped, tapped.requiring("outputs"), full)
        now.afterwards.clear()
        now.backward = True

    def label(self, labels: str) -> None:
        """Say whose labels the gradients that now arrive belong to."""
        self._during().labels = labels

    def end(self) -> None:
        """Finish what needs whole rows, check gradients and numbers, let go of the batch."""
        now = self._during()
        self._now = None
        if missing := [name for name, count in now.waiting.items() if count] + [*now.missed]:
            raise CaptureError(
                f"{len(missing)} sites got no gradient (the first is {missing[0]}): the loss does "
                "not depend on them"
            )
        for (_, statistic), (entry, readings) in now.held.items():
            whole = joined(readings)
            statistic.update(self._state(entry, statistic, whole), self._folded(statistic, whole))
        _check_sums(now)

    def attach(self, model: nn.Module) -> list[RemovableHandle]:
        """Register hooks on every module that owns a site; the caller removes them."""
        modules: dict[tuple[str, str], list[_Tapped]] = defaultdict(list)
        for tapped in self.tapped():
            modules[tapped.site.module, tapped.site.end].append(tapped)
        handles = []
        for path in dict.fromkeys(path for path, _ in modules):
            module = model.get_submodule(path)
            before = self._before(path, module, modules[path, "input"])
            after = self._after(path, module, modules[path, "output"])
            handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
            handles.append(module.register_forward_hook(after))
        return handles

    def tapped(self) -> list[_Tapped]:
        """Return every tensor that is read."""
        return [tapped for entry in self.entries for tapped in _tapped(entry)]

    def _during(self) -> _Forward:
        assert self._now is not None
        return self._now

    def _before(self, path: str, module: nn.Module, tapped: list[_Tapped]) -> Any:  # noqa: ANN401
        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if self._now is not None:
                self._read(path, module, tapped, {**dict(enumerate(args)), **kwargs})

        return hook

    def _after(self, path: str, module: nn.Module, tapped: list[_Tapped]) -> Any:  # noqa: ANN401
        def hook(_: nn.Module, args: tuple[Any, ...], output: Any) -> None:  # noqa: ANN401
            if self._now is not None:
                many = isinstance(output, tuple | list)
                tensors = dict(enumerate(output)) if many else {0: output}
                self._read(path, module, tapped, tensors)
                self._now.calls[path] += 1

        return hook

    def _read(
        self, path: str, module: nn.Module, tapped: list[_Tapped], tensors: Mapping[Any, Any]
    ) -> None:
        now = self._during()
        for each in tapped:
            tensor = tensors.get(each.site.argument)
            if tensor is None and each.place in ("input", "weight"):
                tensor = tensors.get("input")
            if not isinstance(tensor, Tensor) or each.site.call != now.calls[path] - now.backward:
                continue
            if now.backward:
                self._recomputed(each, module, tensor)
            else:
                self._record(each, module, tensor)

    def _recomputed(self, tapped: _Tapped, module: nn.Module, tensor: Tensor) -> None:
        """Take the gradient where checkpointing ran the first forward without one."""
        now = self._during()
        if tapped.name in now.missed and tensor.requires_grad:
            now.missed.discard(tapped.name)
            self._await_gradient(tapped, module, tensor, self._reading(tapped, module, tensor))

    def _record(self, tapped: _Tapped, module: nn.Module, tensor: Tensor) -> None:
        now = self._during()
        self.fired[tapped.name] += 1
        reading = self._reading(tapped, module, tensor)
        self._update(tapped, tapped.at_once(), reading)
        if tapped.place != "weight" or not tapped.second:
            sums = finite_sums(reading, gradient=False)
            now.sums.append(_Sums(sums, tapped.site.name, "the activation"))
        if tapped.requiring("outputs"):
            now.afterwards.append((tapped, _kept(reading, tapped)))
        if self._graded(tapped):
            self._await_gradient(tapped, module, tensor, reading)
        if self.observe is not None:
            self.observe(tapped.site, now.batch)

    def _graded(self, tapped: _Tapped) -> bool:
        if tapped.place == "weight":
            return tapped.second
        return any(tapped.requiring(need) for need in GRADIENTS.values())

    def _await_gradient(
        self, tapped: _Tapped, module: nn.Module, tensor: Tensor, reading: Reading
    ) -> None:
        """Update gradient statistics when a backward pass reaches `tensor`."""
        now, site = self._during(), tapped.site
        if not tensor.requires_grad:
            if torch.is_grad_enabled():
                raise CaptureError(
                    f"{site.name}: no gradient reaches it; the model detaches its input"
                )
            now.missed.add(tapped.name)
            return
        kept = evolve(reading, values=reading.values.clone()) if site.overwritten else reading
        now.waiting[tapped.name] += 1

        def arrived(gradient: Tensor) -> None:
            now.waiting[tapped.name] = 0
            given = gradient.detach()
            full = evolve(kept, gradient=self._nodes(tapped, module, given), shared={})
            chosen = tapped.requiring(GRADIENTS[now.labels])
            self._update(tapped, chosen, full)
            sums = finite_sums(full, gradient=True)
            now.sums.append(_Sums(sums, site.name, "the gradient"))

        tensor.register_hook(arrived)  # type: ignore[no-untyped-call]

    def _nodes(self, tapped: _Tapped, module: nn.Module, tensor: Tensor) -> Tensor:
        """Return ``(rows, positions, nodes)``, every packed sequence a row of its own."""
        now = self._during()
        rows = now.batch.rows
        if tapped.place in ("input", "weight"):
            shaped = outputs_of if tapped.second else features_of
            values = shaped(module, tensor, rows)
        else:
            values = nodes_of(tensor, tapped.site, rows)
        return values if now.segments is None else now.segments.unpack(values)

    def _reading(self, tapped: _Tapped, module: nn.Module, tensor: Tensor) -> Reading:
        now = self._during()
        if tapped.place == "weight" and tapped.second:
            return now.inputs[tapped.entry.name]
        values = self._nodes(tapped, module, tensor.detach())
        device, batch = values.device, now.batch
        index = now.numbers.to(device)
        if now.segments is not None:
            index = index[now.segments.row.to(device)]
            repeats = values.shape[1] // now.segments.valid.shape[1]
            valid: Tensor | None = now.segments.valid.to(device).repeat_interleave(repeats, dim=1)
        else:
            counted = valid_positions(batch, values.shape[1])
            valid = None if counted is None else counted.to(device)
        if valid is not None:
            values = values.masked_fill(~valid.unsqueeze(-1), 0.0)
        labels = batch.targets
        single = labels is not None and labels.ndim == 1 and now.segments is None
        reading = Reading(
            values,
            folds_of(index, self.plan.folds),
            valid=valid,
            targets=labels.to(device) if labels is not None and single else None,
            index=index,
            grid=grid_of(tensor, tapped.site) if tapped.place == "activation" else (),
            parts=_parts(tapped),
        )
        reading = evolve(reading, pivot=self._pivot(tapped, reading), shared=reading.shared)
        if tapped.place == "weight":
            now.inputs[tapped.entry.name] = reading
        return reading

    def _pivot(self, tapped: _Tapped, reading: Reading) -> Tensor:
        """Return the pivot that all statistics of an entry and place share."""
        key = (tapped.entry.name, tapped.place)
        if key not in self._pivots:
            states = self.states.get(tapped.entry.name, {})
            known = [state["pivot"] for s, state in states.items() if _at(s, tapped, state)]
            self._pivots[key] = known[0] if known else mean_of(reading)
        return self._pivots[key].to(reading.values.device)

    def _update(
        self, tapped: _Tapped, statistics: tuple[Statistic[Any], ...], reading: Reading
    ) -> None:
        if isinstance(tapped.entry, PairEntry):
            self._pair(tapped, statistics, reading)
            return
        for statistic in statistics:
            if tapped.several and "whole_rows" in statistic.requires:
                key, held = (tapped.entry.name, statistic), self._during().held
                held.setdefault(key, (tapped.entry, []))[1].append(reading)
            else:
                state = self._state(tapped.entry, statistic, reading)
                statistic.update(state, self._folded(statistic, reading))

    def _pair(
        self, tapped: _Tapped, statistics: tuple[Statistic[Any], ...], reading: Reading
    ) -> None:
        """Update when both groups of a pair have been read."""
        waiting = self._during().pairs
        other = waiting.pop(tapped.entry.name, None)
        if other is None:
            waiting[tapped.entry.name] = reading
            return
        first, second = (other, reading) if tapped.second else (reading, other)
        both = evolve(first, partner=second.values, shared={})
        for statistic in statistics:
            state = self._state(tapped.entry, statistic, both)
            statistic.update(state, self._folded(statistic, both))

    def _folded(self, statistic: Statistic[Any], reading: Reading) -> Reading:
        folds = self.plan.folds_of(statistic)
        return reading if folds == self.plan.folds else reading.in_folds(folds)

    def _state(self, entry: Entry, statistic: Statistic[Any], reading: Reading) -> State:
        states = self.states.setdefault(entry.name, {})
        if statistic not in states:
            device = reading.values.device
            states[statistic] = statistic.start(self.plan.layout(entry, statistic, device))
        return states[statistic]


def _at(statistic: Any, tapped: _Tapped, state: State) -> bool:  # noqa: ANN401
    of_values = getattr(statistic, "of", "value") == "value"
    return statistic.tap == tapped.place and of_values and "pivot" in state


def _tapped(entry: Entry) -> list[_Tapped]:
    """Return the tensors that an entry's statistics read."""
    if isinstance(entry, PlanEntry):
        return _at_nodes(entry)
    if isinstance(entry, PairEntry):
        ends = (entry.group, entry.partner)
        sites = (group.at("activation")[0] for group in ends)
        return [
            _Tapped(entry, site, "pair", entry.statistics, second=bool(number))
            for number, site in enumerate(sites)
        ]
    return _at_weight(entry)


def _at_nodes(entry: PlanEntry) -> list[_Tapped]:
    taps: list[_Tapped] = []
    places: tuple[Any, ...] = ("activation", "preactivation")
    for place in places:
        statistics = tuple(s for s in entry.statistics if s.tap == place)
        sites = entry.group.at(place) if statistics else ()
        several = len(sites) > 1
        taps.extend(_Tapped(entry, site, place, statistics, several) for site in sites)
    return taps


def _at_weight(entry: InputEntry) -> list[_Tapped]:
    """Return a module's input and, where its weight is asked for, its output."""
    from nodelens.channels.groups import Extent

    width = Extent(entry.layout.width)
    read = Site(entry.module, "input", "activation", -1, width)
    taps = [_Tapped(entry, read, entry.place, entry.statistics)]
    if entry.place == "weight":
        written = Site(entry.module, "output", "preactivation", -1, Extent(entry.layout.others))
        taps.append(_Tapped(entry, written, "weight", entry.statistics, second=True))
    return taps


def _parts(tapped: _Tapped) -> int:
    group: ChannelGroup | None = getattr(tapped.entry, "group", None)
    return 1 if group is None else parts_of(group)


def _kept(reading: Reading, tapped: _Tapped) -> Reading:
    """Return what is kept until the forward has ended: row means where they will do."""
    if reading.targets is None:
        values = reading.values.clone() if tapped.site.overwritten else reading.values
        return evolve(reading, values=values)
    means = row_means(reading).unsqueeze(1)
    return evolve(reading, values=means, valid=None, parts=1, grid=())


def _check_sums(now: _Forward) -> None:
    """Raise `CaptureError` when any value of the batch was not finite; one look at the device."""
    if not now.sums:
        return
    flags = [each.sums.isfinite().all() for each in now.sums]
    if bool(torch.stack([flag.to(flags[0].device) for flag in flags]).all()):
        return
    bad = next(each for each, flag in zip(now.sums, flags, strict=True) if not flag)
    index = now.numbers if now.segments is None else now.numbers[now.segments.row.cpu()]
    check_finite(bad.sums, bad.name, index, bad.what)

"""Hooks that read sites while a model runs, and only then."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, field, frozen
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from nodelens.capture.batches import Batch
from nodelens.capture.plan import CapturePlan
from nodelens.capture.reading import check_finite, folds_of, joined, nodes_of, valid_positions
from nodelens.channels.groups import Site
from nodelens.errors import CaptureError
from nodelens.statistics.contract import Reading, State, Statistic

States = dict[str, dict[Statistic[Any], State]]


@frozen(eq=False)
class _Tapped:
    """One site of one group, and the statistics that read it."""

    group: str
    site: Site
    statistics: tuple[Statistic[Any], ...]

    def chosen(self, gradient: bool) -> tuple[Statistic[Any], ...]:
        return tuple(s for s in self.statistics if s.needs_gradient == gradient)


@define(eq=False)
class Recorder:
    """Updates the statistics of a plan from what a model's modules read and return."""

    plan: CapturePlan
    states: States = field(factory=dict)
    fired: Counter[str] = field(factory=Counter)
    observe: Callable[[Site, Batch], None] | None = None
    _batch: Batch | None = None
    _calls: Counter[str] = field(factory=Counter)
    _waiting: int = 0
    _held: dict[tuple[str, Statistic[Any]], list[Reading]] = field(
        factory=lambda: defaultdict(list)
    )

    def begin(self, batch: Batch) -> None:
        """Get ready for one forward of `batch`."""
        self._batch = batch
        self._calls.clear()
        self._waiting = 0
        self._held.clear()

    def end(self) -> None:
        """Finish what needs whole rows, check that every gradient has come, let go of the batch."""
        self._batch = None
        if self._waiting:
            raise CaptureError(
                f"{self._waiting} sites got no gradient: the loss does not depend on them"
            )
        for (group, statistic), readings in self._held.items():
            statistic.update(self._state(group, statistic, readings[0]), joined(readings))
        self._held.clear()

    def attach(self, model: nn.Module) -> list[RemovableHandle]:
        """Register a hook on every module that owns a site; the caller removes them."""
        modules: dict[tuple[str, str], list[_Tapped]] = defaultdict(list)
        for tapped in self._tapped():
            modules[tapped.site.module, tapped.site.end].append(tapped)
        handles = []
        for path in dict.fromkeys(path for path, _ in modules):
            module = model.get_submodule(path)
            read = self._before(path, modules[path, "input"])
            handles.append(module.register_forward_pre_hook(read, with_kwargs=True))
            handles.append(module.register_forward_hook(self._after(path, modules[path, "output"])))
        return handles

    def _tapped(self) -> list[_Tapped]:
        taps: list[_Tapped] = []
        for entry in self.plan.entries:
            for tap in ("activation", "preactivation"):
                statistics = tuple(s for s in entry.statistics if s.tap == tap)
                sites = entry.group.at(tap) if statistics else ()
                taps.extend(_Tapped(entry.group.name, site, statistics) for site in sites)
        return taps

    def _before(self, path: str, tapped: list[_Tapped]) -> Any:  # noqa: ANN401 - a torch hook
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if self._batch is not None:
                self._read(path, tapped, {**dict(enumerate(args)), **kwargs})

        return hook

    def _after(self, path: str, tapped: list[_Tapped]) -> Any:  # noqa: ANN401 - a torch hook
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:  # noqa: ANN401
            if self._batch is not None:
                many = isinstance(output, tuple | list)
                self._read(path, tapped, dict(enumerate(output)) if many else {0: output})
                self._calls[path] += 1

        return hook

    def _read(self, path: str, tapped: list[_Tapped], tensors: Mapping[Any, Any]) -> None:
        for each in tapped:
            if each.site.call == self._calls[path] and each.site.argument in tensors:
                self._record(each, tensors[each.site.argument])

    def _record(self, tapped: _Tapped, tensor: Tensor) -> None:
        batch, site = self._batch, tapped.site
        assert batch is not None
        self.fired[f"{tapped.group} @ {site.name}"] += 1
        plain, graded = tapped.chosen(gradient=False), tapped.chosen(gradient=True)
        reading = self._reading(tensor.detach(), site, batch)
        check_finite(reading.values, site, batch, "the activation")
        self._update(tapped.group, plain, reading)
        if graded:
            self._await_gradient(tapped, tensor, reading)
        if self.observe is not None:
            self.observe(site, batch)

    def _await_gradient(self, tapped: _Tapped, tensor: Tensor, reading: Reading) -> None:
        """Update gradient statistics when the backward pass reaches `tensor`."""
        batch, site = self._batch, tapped.site
        assert batch is not None
        if not tensor.requires_grad:
            raise CaptureError(f"{site.name}: no gradient reaches it; the model detaches its input")
        values = reading.values.clone() if site.overwritten else reading.values
        self._waiting += 1

        def arrived(gradient: Tensor) -> None:
            self._waiting -= 1
            nodes = nodes_of(gradient, site, batch.rows)
            check_finite(nodes, site, batch, "the gradient")
            full = Reading(values, reading.fold, nodes, reading.valid, reading.targets)
            self._update(tapped.group, tapped.chosen(gradient=True), full)

        tensor.register_hook(arrived)  # type: ignore[no-untyped-call]

    def _reading(self, tensor: Tensor, site: Site, batch: Batch) -> Reading:
        values = nodes_of(tensor, site, batch.rows)
        valid = valid_positions(batch, values.shape[1])
        if valid is not None:
            values = values.masked_fill(~valid.unsqueeze(-1), 0.0)
        fold = folds_of(batch.first, batch.rows, self.plan.folds, values.device)
        labels = batch.targets
        targets = labels if labels is not None and labels.ndim == 1 else None
        return Reading(values, fold, valid=valid, targets=targets)

    def _update(self, group: str, statistics: tuple[Statistic[Any], ...], reading: Reading) -> None:
        several = (
            len(self.plan.entry(group).group.at(statistics[0].tap)) > 1 if statistics else False
        )
        for statistic in statistics:
            if statistic.per_row and several:
                self._held[group, statistic].append(reading)
            else:
                statistic.update(self._state(group, statistic, reading), reading)

    def _state(self, group: str, statistic: Statistic[Any], reading: Reading) -> State:
        states = self.states.setdefault(group, {})
        if statistic not in states:
            layout = self.plan.layout(self.plan.entry(group).group, reading.values.device)
            states[statistic] = statistic.start(layout)
        return states[statistic]

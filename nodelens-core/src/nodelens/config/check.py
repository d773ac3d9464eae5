"""From what a config says to what a run means, with every mistake reported at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from attrs import field, fields, frozen

from nodelens.config.class_keys import ClassKey, entries
from nodelens.config.components import ComponentCheck, ComponentSource
from nodelens.config.metric_dependencies import with_parts
from nodelens.config.options import structure_options
from nodelens.config.patterns import expand
from nodelens.config.plugin_section import check_plugins
from nodelens.config.rankings import join_ranked, pair_problems, unfit_to_stop, unranked
from nodelens.config.raw import Problem, RawConfig
from nodelens.config.schema import (
    COMPONENT_KINDS,
    REQUIRED_SECTIONS,
    SECTIONS,
    SINGLE_SECTIONS,
    CaptureSettings,
    DataSettings,
    PluginSettings,
    RunConfig,
)
from nodelens.config.structuring import INVALID, fit, unknown_key
from nodelens.errors import ConfigError, NodelensError, did_you_mean

FILE_KEYS = ("extends", "sweep")
"""Keys of a config file that are used up before a single run is checked."""


def plugin_settings(raw: RawConfig) -> PluginSettings:
    """Return which plugins a config wants, before any is loaded; raises `ConfigError`."""
    problems: list[Problem] = []
    settings = check_plugins(raw.value.get("plugins"), problems)
    _report(raw, problems)
    return settings


def check_config(raw: RawConfig, registry: ComponentSource) -> RunConfig:
    """Return the resolved run: names known, options typed, defaults filled in.

    Raises `nodelens.errors.ConfigError` with one ``file:line: path: message`` per mistake.
    """
    check = _Check(registry, [])
    reports = [each.name for each in fields(RunConfig).reports.default or ()]
    given = {"reports": reports, **raw.value}
    values = {key: check.section(key, value) for key, value in given.items()}
    check.missing(values)
    check.parts(values)
    check.recovery(given)
    _report(raw, check.problems)
    return RunConfig(**values)


def run_entries() -> dict[str, ClassKey]:
    """Return the sections of a run that name no component, by key."""
    return {entry.key: entry for entry in entries(RunConfig, ("plugins", *COMPONENT_KINDS))}


@frozen(eq=False)
class _Check:
    registry: ComponentSource
    problems: list[Problem]
    metrics: dict[str, object] = field(factory=dict)

    def section(self, key: str, value: Any) -> Any:
        """Return the value of one top-level key as `RunConfig` holds it."""
        if key == "sweep":
            self.problems.append(Problem((key,), "stands for several runs; one was expected here"))
        elif key not in SECTIONS:
            text = unknown_key(RunConfig, key, FILE_KEYS)
            self.problems.append(Problem((key,), text))
        elif key == "plugins":
            return check_plugins(value, self.problems)
        elif key == "data":
            return self._data(value)
        elif value is None and key in SINGLE_SECTIONS - REQUIRED_SECTIONS:
            return None
        elif key in COMPONENT_KINDS:
            built = self.metrics if key == "metrics" else {}
            reader = ComponentCheck(key, self.registry, self.problems, built)
            return reader.one(value, (key,)) if key in SINGLE_SECTIONS else reader.several(value)
        else:
            return fit(run_entries()[key].kind, value, (key,), self.problems)
        return INVALID

    def _data(self, value: Any) -> DataSettings | None:
        """Return the data section: its own keys are settings, all others are the dataset's."""
        kinds = {entry.key: entry.kind for entry in entries(DataSettings, ("component",))}
        own: dict[str, Any] = {}
        if isinstance(value, dict):
            own = {key: item for key, item in value.items() if key in kinds}
            value = {key: item for key, item in value.items() if key not in kinds}
        reader = ComponentCheck("data", self.registry, self.problems)
        component = reader.one(value, ("data",), others=kinds)
        settings = {
            key: fit(kind, own[key], ("data", key), self.problems)
            for key, kind in kinds.items()
            if key in own
        }
        if component is None or INVALID in settings.values():
            return None
        return DataSettings(component, **settings)

    def missing(self, values: dict[str, Any]) -> None:
        """Report the sections that every run needs and that are not there."""
        for section in sorted(REQUIRED_SECTIONS - values.keys(), reverse=True):
            kind = COMPONENT_KINDS[section]
            hint = did_you_mean("", self.registry.names(kind)).removeprefix("; ")
            message = f"the section '{section}' is missing: it names the {kind}"
            self.problems.append(Problem((), message, hint))

    def parts(self, values: dict[str, Any]) -> None:
        """Report metrics that clash or are made of unknown ones, and what cannot be ranked by.

        Metrics that are wrong themselves are left out.
        """
        built = self._joined(values)
        interventions = self._built("interventions", values)
        for _, words in unranked(interventions, built):
            self.problems.append(Problem(("interventions", "metrics"), words))
        capture = values.get("capture")
        stop_when = capture.stop_when if isinstance(capture, CaptureSettings) else None
        if stop_when is not None:
            words = (
                unfit_to_stop(stop_when, built[stop_when.metric])
                if stop_when.metric in built
                else self._unknown(stop_when.metric, values)
            )
            if words:
                self.problems.append(Problem(("capture", "stop_when", "metric"), words))
        recoveries = self._built("recovery", values)
        self.problems.extend(pair_problems(self._built("pruning", values), recoveries))

    def _joined(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return the metrics of the run, with those that others are made of or rank by."""
        components = expand(values.get("metrics") or (), self.registry).components
        joined: dict[str, Any] = {}
        for each in components:
            with self._reporting("metrics"):
                known = self.metrics.get(each.result_name)
                joined[each.result_name] = known or self._metric(each.name)
        for label, pruner in self._built("pruning", values).items():
            with self._reporting("pruning"):
                join_ranked(label, pruner, joined, self.registry, self._metric)
        with self._reporting("metrics"):
            source = self.registry
            offered = source.names("metric")
            joined |= with_parts(joined, self._metric, offered, source.unloaded, source.own_name)
        return joined

    def _unknown(self, metric: str, values: dict[str, Any]) -> str:
        components = expand(values.get("metrics") or (), self.registry).components
        hint = did_you_mean(metric, [each.result_name for each in components])
        return f"{metric!r} is not one of the run's metrics{hint or '; there are none'}"

    def _built(self, section: str, values: dict[str, Any]) -> dict[str, Any]:
        """Return the components of a section with their options, by their names in results."""
        found: dict[str, Any] = {}
        for each in values.get(section) or ():
            cls = self.registry.component(COMPONENT_KINDS[section], each.name)
            found[each.result_name] = structure_options(cls, each.options)
        return found

    @contextmanager
    def _reporting(self, section: str) -> Iterator[None]:
        """Add what is wrong inside the context to the problems of a section."""
        try:
            yield
        except NodelensError as error:
            lines = error.problems if isinstance(error, ConfigError) else [str(error)]
            texts = (text.removeprefix("metrics: ") for text in lines)
            self.problems.extend(Problem((section,), text) for text in texts)

    def recovery(self, given: dict[str, Any]) -> None:
        """Report a recovery of nothing."""
        if given.get("recovery") and not given.get("pruning"):
            words = "there is no pruned model to recover; name a method under 'pruning'"
            self.problems.append(Problem(("recovery",), words))

    def _metric(self, name: str) -> object:
        return structure_options(self.registry.component("metric", name), {})


def _report(raw: RawConfig, problems: list[Problem]) -> None:
    if problems:
        raise ConfigError([problem.line(raw.marks) for problem in problems])

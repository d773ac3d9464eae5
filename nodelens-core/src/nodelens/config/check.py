"""From what a config says to what a run means, with every mistake reported at once."""

from __future__ import annotations

from typing import Any

from attrs import field, fields, frozen

from nodelens.config.class_keys import ClassKey, entries
from nodelens.config.components import ComponentCheck, ComponentSource
from nodelens.config.metric_dependencies import with_parts
from nodelens.config.options import structure_options
from nodelens.config.patterns import expand
from nodelens.config.plugin_section import check_plugins
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
    check.rankings(values)
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
        """Report metrics that are made of unknown ones, and a stopping rule by one not asked for.

        Metrics that are wrong themselves are left out.
        """
        components = expand(values.get("metrics") or (), self.registry).components
        names = [component.result_name for component in components]
        try:
            built = {
                each.result_name: self.metrics.get(each.result_name) or self._metric(each.name)
                for each in components
            }
            offered = self.registry.names("metric")
            with_parts(built, self._metric, offered, self.registry.unloaded)
        except ConfigError as error:
            texts = (text.removeprefix("metrics: ") for text in error.problems)
            self.problems.extend(Problem(("metrics",), text) for text in texts)
        capture = values.get("capture")
        stop_when = capture.stop_when if isinstance(capture, CaptureSettings) else None
        if stop_when is not None and stop_when.metric not in names:
            hint = did_you_mean(stop_when.metric, names) or "; there are none"
            words = f"{stop_when.metric!r} is not one of the run's metrics{hint}"
            self.problems.append(Problem(("capture", "stop_when", "metric"), words))

    def rankings(self, values: dict[str, Any]) -> None:
        """Report pruning methods that rank by a metric that no plugin offers."""
        named = {component.result_name for component in values.get("metrics") or ()}
        named.update(self.registry.names("metric"))
        for component in values.get("pruning") or ():
            cls = self.registry.component("pruner", component.name)
            pruner: Any = structure_options(cls, component.options)
            for metric in pruner.metrics():
                if metric not in named:
                    words = f"{component.result_name!r} ranks by {metric!r}"
                    self._report_metric(words, metric)

    def _report_metric(self, words: str, metric: str) -> None:
        try:
            self.registry.component("metric", metric)
        except NodelensError as error:
            self.problems.append(Problem(("pruning",), f"{words}: {error}"))

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

"""Loading one plugin: import, checks, and what it offers; whatever goes wrong stays inside."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from typing import Any

from attrs import frozen

from nodelens.errors import PluginError
from nodelens.plugins.discovery import Candidate
from nodelens.plugins.hooks import REGISTER, checked_hooks
from nodelens.plugins.reasons import reason
from nodelens.plugins.records import PluginRecord
from nodelens.plugins.specs import SPEC_KINDS, ComponentSpec, Kind

PLURALS: dict[Kind, str] = {
    "backend": "backends",
    "dataset": "datasets",
    "metric": "metrics",
    "analysis": "analyses",
    "intervention": "interventions",
    "pruner": "pruners",
    "recovery": "recoveries",
    "report": "reports",
    "command": "commands",
    "rule": "rules",
}
"""The plural of every kind: the end of its hook's name, and the command that lists it."""


@frozen(eq=False)
class LoadedPlugin:
    """A plugin's record and, if it was loaded, the object that holds its hooks."""

    record: PluginRecord
    plugin: object | None = None


def load_plugin(candidate: Candidate) -> LoadedPlugin:
    """Import a plugin and ask what it offers; a failure of any sort becomes a record."""
    if candidate.problem:
        return LoadedPlugin(candidate.record("failed", candidate.problem))
    try:
        # What a plugin prints must not end up among results.
        with redirect_stdout(sys.stderr):
            plugin = candidate.entry_point.load()
            specs = _offers(plugin)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - plugin code
        return LoadedPlugin(candidate.record("failed", reason(error)))
    return LoadedPlugin(candidate.record("loaded", specs=specs), plugin)


def _offers(plugin: object) -> tuple[ComponentSpec, ...]:
    """Return what the registration hooks of one plugin give; no other plugin is asked."""
    hash(plugin)  # pluggy keeps plugins in sets
    hooks = checked_hooks(plugin)
    return tuple(spec for kind in SPEC_KINDS for spec in _registered(hooks, kind))


def _registered(hooks: Mapping[str, Callable[..., object]], kind: Kind) -> Sequence[ComponentSpec]:
    hook = REGISTER + PLURALS[kind]
    return _checked(hooks[hook](), kind, hook) if hook in hooks else ()


def _checked(answer: Any, kind: Kind, hook: str) -> Sequence[ComponentSpec]:
    """Return what one hook gave; raises `PluginError` unless it is a list of the right specs."""
    expected = SPEC_KINDS[kind]
    words = f"{hook} must return a list of {expected.__name__}"
    if not isinstance(answer, list | tuple):
        raise PluginError(f"{words}, not {'None' if answer is None else type(answer).__name__}")
    names: set[str] = set()
    for spec in answer:
        if not isinstance(spec, expected):
            raise PluginError(f"{words}; it holds {type(spec).__name__}")
        if spec.name in names:
            raise PluginError(f"{hook} offers {spec.name!r} twice")
        names.add(spec.name)
    return answer

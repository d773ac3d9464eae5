"""Loading of one plugin: import, checks and offers; every failure becomes a record."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

from nodelens.errors import PluginError
from nodelens.plugins.bounded import bounded
from nodelens.plugins.hooks import REGISTER, checked_hooks
from nodelens.plugins.reasons import reason
from nodelens.plugins.specs import PLURALS, SPEC_KINDS, ComponentSpec, Kind

if TYPE_CHECKING:
    import pluggy

    from nodelens.plugins.discovery import Candidate
    from nodelens.plugins.plugin_record import PluginRecord


def load_plugin(candidate: Candidate, manager: pluggy.PluginManager) -> PluginRecord:
    """Import a plugin, register it with the manager and collect its offers.

    A failure of any sort becomes a record, and the plugin is not registered.
    """
    if candidate.problem:
        return candidate.record("failed", candidate.problem)
    try:
        # What a plugin prints must not end up among results.
        advice = f"leave it out with --no-plugin {candidate.name}"
        with redirect_stdout(sys.stderr), bounded(f"loading plugin {candidate.name}", advice):
            specs = _offers(candidate.entry_point.load(), candidate.name, manager)
    except Exception as error:  # noqa: BLE001 - plugin code
        if manager.has_plugin(candidate.name):
            manager.unregister(name=candidate.name)
        return candidate.record("failed", reason(error))
    return candidate.record("loaded", specs=specs)


def _offers(plugin: object, name: str, manager: pluggy.PluginManager) -> tuple[ComponentSpec, ...]:
    """Return the offers of one plugin's registration hooks; no other plugin is called."""
    hash(plugin)  # pluggy keeps plugins in sets
    hooks = checked_hooks(plugin)
    specs = tuple(spec for kind in SPEC_KINDS for spec in _registered(hooks, kind))
    if manager.is_registered(plugin):
        raise PluginError("another entry point brings the same plugin")
    manager.register(plugin, name)
    return specs


def _registered(hooks: Mapping[str, Callable[..., object]], kind: Kind) -> Sequence[ComponentSpec]:
    hook = REGISTER + PLURALS[kind]
    return _checked(hooks[hook](), kind, hook) if hook in hooks else ()


def _checked(answer: Any, kind: Kind, hook: str) -> Sequence[ComponentSpec]:
    """Return the answer of one hook; raises `PluginError` unless it lists the right specs."""
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

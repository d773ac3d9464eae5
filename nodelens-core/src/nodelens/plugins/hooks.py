"""Checks of hook implementations before they are registered, with readable reasons."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from inspect import signature
from types import ModuleType
from typing import Any

import pluggy

from nodelens.errors import PluginError, did_you_mean
from nodelens.interfaces.observer import PROJECT
from nodelens.plugins import hookspecs

PREFIX = "nodelens_"
REGISTER = f"{PREFIX}register_"
RENAMED = {
    f"{REGISTER}rules": (
        f"implement {REGISTER}operators and return a list of OperatorSpec, whose targets are rows "
        "(nodelens.interfaces.operator.Operator) that hold the rules"
    )
}
"""Hooks of older plugins, and their replacements."""


class HookManager(pluggy.PluginManager):
    """Finds no hook among Python's own names, which are most of what a module has."""

    def parse_hookimpl_opts(self, plugin: object, name: str) -> Any:
        """Return the options of a hook; None for anything else."""
        return None if name.startswith("__") else super().parse_hookimpl_opts(plugin, name)


def new_manager() -> pluggy.PluginManager:
    """Return a plugin manager that knows every hook and no plugin."""
    manager = HookManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    return manager


def hook_names() -> list[str]:
    """Return the names of all hooks."""
    return [name for name in vars(hookspecs) if name.startswith(PREFIX)]


def checked_hooks(plugin: object) -> dict[str, Callable[..., object]]:
    """Return the hook implementations of a plugin, by the name of the hook.

    Raises `PluginError` for anything that would be ignored or called wrongly.
    """
    if inspect.isclass(plugin):
        raise PluginError("the entry point names a class; name a module or an instance")
    manager, found = HookManager(PROJECT), {}
    for name in dir(plugin):
        options = manager.parse_hookimpl_opts(plugin, name)
        if options is not None:
            _check_hook(plugin, name, options)
            found[str(options.get("specname") or name)] = getattr(plugin, name)
        elif name.startswith(PREFIX) and _is_function(plugin, name):
            raise PluginError(f"{name} is not decorated with @nodelens.hookimpl")
    return found


def _is_function(plugin: object, name: str) -> bool:
    holder = plugin if isinstance(plugin, ModuleType) else type(plugin)
    return inspect.isfunction(inspect.getattr_static(holder, name, None))


def _check_hook(plugin: object, name: str, options: Mapping[str, object]) -> None:
    hook = str(options.get("specname") or name)
    if hook not in hook_names():
        if options.get("optionalhook"):
            return
        if hook in RENAMED:
            raise PluginError(f"there is no hook {hook} any more: {RENAMED[hook]}")
        raise PluginError(f"there is no hook {hook}{did_you_mean(hook, hook_names())}")
    if options.get("wrapper") or options.get("hookwrapper"):
        if hook.startswith(REGISTER):
            reason = "registration hooks are called plugin by plugin"
            raise PluginError(f"{name} is a wrapper; {reason}")
        if not inspect.isgeneratorfunction(getattr(plugin, name)):
            raise PluginError(f"{name} is a wrapper and does not yield")
    _check_arguments(getattr(plugin, name), name, hook)


def _check_arguments(function: object, name: str, hook: str) -> None:
    assert callable(function)
    for argument in signature(function).parameters.values():
        if argument.kind is not inspect.Parameter.POSITIONAL_OR_KEYWORD:
            problem = f"takes {str(argument)!r}; name the arguments one by one"
        elif argument.name not in (known := list(signature(getattr(hookspecs, hook)).parameters)):
            problem = f"has an argument {argument.name!r}{_arguments(argument.name, known)}"
        elif argument.default is not inspect.Parameter.empty:
            problem = f"has a default for {argument.name!r}, so the value would never be given"
        else:
            continue
        raise PluginError(f"{name} {problem}")


def _arguments(name: str, known: list[str]) -> str:
    return did_you_mean(name, known) if known else "; this hook has none"

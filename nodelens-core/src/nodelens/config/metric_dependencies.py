"""Metrics that are made of other metrics: the others join them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from nodelens.errors import ConfigError, did_you_mean
from nodelens.interfaces.metric import dependencies_of

if TYPE_CHECKING:
    from nodelens.plugins.specs import Kind

_M = TypeVar("_M")


def with_parts(
    metrics: Mapping[str, _M],
    build: Callable[[str], _M],
    offered: Collection[str],
    unloaded: Callable[[Kind, str], str],
    own_name: Callable[[Kind, str, object], str] = lambda kind, name, asker: name,
) -> dict[str, _M]:
    """Return the metrics and after them all that they are made of, each once.

    `build` makes a metric of the name that plugins offer it under, with its default options;
    `unloaded` says which plugins that are not loaded may offer a name, `own_name` what a name means
    to the metric that asks: that of its own distribution first.
    Raises `ConfigError` for a name that is neither among the metrics nor in `offered`, for metrics
    that are made of each other, and for those that a metric cannot be made of.
    """
    found = dict(metrics)
    waiting = list(metrics)
    while waiting:
        owner = waiting.pop(0)
        for name in dependencies_of(found[owner]):
            meant = own_name("metric", name, found[owner])
            if name in found:
                _check_meant(owner, meant, found[name], build)
            else:
                if name not in offered:
                    absent = unloaded("metric", name)
                    hint = (
                        absent
                        if "offered by" in absent
                        else _closest(name, found, offered) + absent
                    )
                    words = f"metrics: {owner!r} is made of {name!r}, which is no metric{hint}"
                    raise ConfigError([words])
                found[name] = build(meant)
                waiting.append(name)
    for name in found:
        _check_circle(name, found, ())
    problems = [problem for name in found for problem in _objections(name, found)]
    if problems:
        raise ConfigError(problems)
    return found


def _check_meant(owner: str, meant: str, there: object, build: Callable[[str], object]) -> None:
    """Raise `ConfigError` where the run has another metric than its owner's distribution means."""
    if ":" in meant and type(build(meant)) is not type(there):
        words = (
            f"metrics: {owner!r} is made of {meant}, and the run has another metric of that name"
        )
        raise ConfigError([f"{words}; give that one another label"])


def _objections(name: str, found: Mapping[str, Any]) -> list[str]:
    """Return what a metric has against those that it is made of."""
    if not hasattr(found[name], "check_dependencies"):
        return []
    parts = {part: found[part] for part in dependencies_of(found[name])}
    problems = found[name].check_dependencies(parts)
    return [f"metrics: {name}: {problem}" for problem in problems]


def _closest(name: str, found: Collection[str], offered: Collection[str]) -> str:
    return did_you_mean(name, [*found, *(each for each in offered if ":" not in each)])


def _check_circle(name: str, found: Mapping[str, _M], way: tuple[str, ...]) -> None:
    """Raise `ConfigError` when a metric is made of itself, through others or not."""
    if name in way:
        circle = " -> ".join((*way[way.index(name) :], name))
        raise ConfigError([f"metrics: {circle}: made of each other in a circle; take one out"])
    for part in dependencies_of(found[name]):
        _check_circle(part, found, (*way, name))

"""Name patterns such as ``weight_*`` and ``family:paths``, which stand for several metrics."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from attrs import frozen

from nodelens.config.schema import Component, is_pattern
from nodelens.errors import NodelensError

if TYPE_CHECKING:
    from nodelens.config.components import ComponentSource


LABELLED = "another metric has its name as a label; give that one another label"


@frozen
class Expansion:
    """The metrics of a config, with what patterns match in the place of the patterns.

    Attributes:
        components: all metrics, in order.
        taken: the names in results of those that a pattern alone stands for.
        left_out: names that a pattern matches and that cannot be taken, with the reasons.
    """

    components: tuple[Component, ...]
    taken: frozenset[str]
    left_out: dict[str, str]


def expand(components: Sequence[Component], registry: ComponentSource) -> Expansion:
    """Return the metrics of a config by name.

    A pattern stands for all metrics that it matches, by name, with their default options. A metric
    that is named outright, or by an earlier pattern, is not taken again.
    """
    outright = [each for each in components if not is_pattern(each.name)]
    named = {each.result_name for each in outright}
    labels = {each.result_name for each in outright if each.label not in (None, each.name)}
    found: list[Component] = []
    taken: set[str] = set()
    left_out: dict[str, str] = {}
    for component in components:
        if not is_pattern(component.name):
            found.append(component)
            continue
        fresh, reasons = take(component.name, registry, {*named, *taken, *left_out} - labels)
        reasons |= {each.result_name: LABELLED for each in fresh if each.result_name in labels}
        fresh = [each for each in fresh if each.result_name not in labels]
        found += fresh
        taken |= {each.result_name for each in fresh}
        left_out |= reasons
    return Expansion(tuple(found), frozenset(taken), left_out)


def take(
    pattern: str, registry: ComponentSource, named: Collection[str]
) -> tuple[list[Component], dict[str, str]]:
    """Return the metrics that a pattern takes, and for the others the reasons, without `named`.

    Raises `UnknownNameError` when the pattern matches nothing.
    """

    found: list[Component] = []
    left_out: dict[str, str] = {}
    for name in registry.matching("metric", pattern):
        bare = Component(name).result_name
        if bare in named:
            continue
        try:
            found.append(Component(name, _defaults(name, registry)))
        except NodelensError as error:
            left_out[bare] = str(error)
    return found, left_out


def _defaults(name: str, registry: ComponentSource) -> dict[str, object]:
    """Return the default options of a metric; raises where it cannot be made with them."""
    from nodelens.config.class_keys import values_of
    from nodelens.config.metric_dependencies import with_parts
    from nodelens.config.options import structure_options

    def build(metric: str) -> object:
        return structure_options(registry.component("metric", metric), {})

    built = build(name)
    with_parts({name: built}, build, registry.names("metric"), registry.unloaded, registry.own_name)
    return values_of(built)

"""Checks of component classes against the protocol of their kind."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nodelens.plugins.specs import Kind

CONTRACTS: Mapping[Kind, str] = {
    "backend": "nodelens.interfaces.backend:Backend",
    "dataset": "nodelens.interfaces.dataset:Dataset",
    "metric": "nodelens.interfaces.metric:Metric",
    "loss": "nodelens.interfaces.loss:Loss",
    "analysis": "nodelens.interfaces.analysis:Analysis",
    "intervention": "nodelens.interfaces.intervention:Intervention",
    "evaluation": "nodelens.interfaces.evaluation:Evaluation",
    "pruner": "nodelens.interfaces.pruner:Pruner",
    "recovery": "nodelens.interfaces.recovery:Recovery",
    "report": "nodelens.interfaces.report:Report",
}
"""The protocol of every kind that a config can name."""

_OLDER_NAMES: Mapping[str, tuple[str, ...]] = {
    "info": ("better", "unit", "formula", "source", "invariances", "dead", "level", "jackknife"),
    "statistics": ("needs",),
    "depends_on": ("uses",),
    "check_dependencies": ("unfit",),
}
"""Members of metrics for an earlier contract, by the member that takes their place."""


def missing_members(kind: Kind, component: type) -> list[str]:
    """Return the methods and attributes of the contract that a component class lacks.

    A member that may be left out is missing where the class has its earlier form.
    """
    required = _members(kind)
    optional = [new for new in _OLDER_NAMES if kind == "metric" and _older(new, component)]
    members = dict.fromkeys([*required, *optional])
    return [_lacking(member, component) for member in members if not hasattr(component, member)]


@cache
def _members(kind: Kind) -> tuple[str, ...]:
    module, _, name = CONTRACTS[kind].partition(":")
    contract = vars(getattr(import_module(module), name))
    members = dict.fromkeys([*contract.get("__annotations__", {}), *contract])
    return tuple(member for member in members if not member.startswith("_"))


def _older(member: str, component: type) -> list[str]:
    return [name for name in _OLDER_NAMES.get(member, ()) if hasattr(component, name)]


def _lacking(member: str, component: type) -> str:
    """Return a missing member, with the members of an earlier contract that the class has."""
    found = _older(member, component)
    return f"{member} (in place of {', '.join(found)})" if found else member

"""Plans within a memory budget: fewer folds of quadratic statistics, then more passes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve

from nodelens.config.sizes import size_text
from nodelens.errors import ConfigError

if TYPE_CHECKING:
    from nodelens.capture.plan.capture_plan import CapturePlan

FEWEST = 2
"""The smallest number of folds for a standard error, which is then a rough one."""


def within(plan: CapturePlan, budget: int, fewest: int = 1) -> CapturePlan:
    """Return the plan with fewer folds or more passes, so that one pass needs at most `budget`.

    Quadratic statistics go down to half and a quarter of the folds first, then the places are
    divided over passes, then quadratic statistics keep two folds, and at last one, which leaves no
    standard error, but never less than `fewest`. The plan's notes list the changes. Raises
    `ConfigError` when one place alone is too large.
    """
    plan = evolve(plan, budget=budget)
    if plan.bytes <= budget:
        return plan
    folds = [plan.folds // parts for parts in (2, 4) if plan.folds % parts == 0]
    for fewer in (f for f in folds if f > FEWEST):
        reduced = _folded(plan, fewer)
        if reduced.bytes <= budget:
            return reduced
        plan = reduced
    for fewer in (plan.quadratic_folds or plan.folds, FEWEST, 1):
        divided = _divided(_folded(plan, fewer), budget) if fewer >= fewest else None
        if divided is not None:
            return divided
    raise ConfigError([_too_large(_folded(plan, fewest), budget)])


def _folded(plan: CapturePlan, folds: int) -> CapturePlan:
    """Return the plan with quadratic statistics in so many folds."""
    if folds in (plan.quadratic_folds, plan.folds) or not plan.needs("quadratic"):
        return plan
    error = "no standard errors" if folds == 1 else f"standard errors from {folds} folds"
    note = f"covariances are kept in {folds} of {plan.folds} folds to fit the memory: {error}"
    return evolve(plan, quadratic_folds=folds, notes=(note,))


def _divided(plan: CapturePlan, budget: int) -> CapturePlan | None:
    """Return the plan with its entries divided over passes, in order; None if one is too large."""
    parts: list[list[str]] = []
    room = 0
    for entry in plan.everything:
        size = plan.bytes_of(entry)
        if size > budget:
            return None
        if size > room:
            parts.append([])
            room = budget
        room -= size
        if size:
            parts[-1].append(entry.name)
    if any(plan.bytes_of_visit(statistic) > budget for statistic in plan.visits):
        return None
    if len(parts) < 2:
        return plan
    note = f"the data is read {len(parts)} times to fit the memory"
    return evolve(plan, parts=tuple(map(tuple, parts)), notes=(*plan.notes, note))


def _too_large(plan: CapturePlan, budget: int) -> str:
    largest = max(plan.everything, key=plan.bytes_of)
    size = max([plan.bytes_of(largest), *map(plan.bytes_of_visit, plan.visits)])
    return (
        f"memory_budget: {largest.name} alone needs {size_text(size)}, the budget is "
        f"{size_text(budget)}; raise it, or leave out the metrics that need so much"
    )

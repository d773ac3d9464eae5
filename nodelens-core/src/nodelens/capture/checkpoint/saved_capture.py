"""A finished capture in one file, to be scored again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import asdict, evolve, frozen

from nodelens.capture.checkpoint.checkpoint import plan_key
from nodelens.capture.checkpoint.spilled_states import Slot, StoredStates, read_slots, write_states
from nodelens.capture.counts import Counts
from nodelens.capture.result import Capture
from nodelens.config.stored_values import restored_text
from nodelens.errors import RunError
from nodelens.interfaces.statistic import covering
from nodelens.storage.tensor_files import read_metadata, read_tensors

if TYPE_CHECKING:
    from nodelens.capture.plan.capture_plan import CapturePlan

_FORMAT = "nodelens capture 3"
_ROWS = "rows"


@frozen
class _CaptureMetadata:
    """The metadata of a saved capture."""

    folds: int
    quadratic_folds: int
    classes: int
    notes: tuple[str, ...]
    position_fraction: float
    counts: dict[str, dict[str, int | str]]
    plan: str


def save_capture(path: Path, capture: Capture) -> None:
    """Write all states, their statistics, and the samples of each fold to one file, atomically."""
    plan = capture.plan
    about = _CaptureMetadata(
        folds=plan.folds,
        quadratic_folds=plan.quadratic_folds,
        classes=plan.classes,
        notes=plan.notes,
        position_fraction=plan.position_fraction if plan.thinned else 1.0,
        counts=capture.counts.as_json(),
        plan=plan_key(plan),
    )
    metadata = {"capture": _FORMAT, "about": json.dumps(asdict(about))}
    write_states(path, capture.states, {_ROWS: capture.rows}, metadata)


def load_capture(path: Path, plan: CapturePlan, device: str = "") -> Capture:
    """Return a saved capture, for a plan whose statistics were all captured.

    The states are read at the first access of a place, to `device`, or else to where they were. The
    number of folds and the changes by the memory budget are those of the file. Raises
    `RunError` for a damaged file, and where a statistic of the plan was not captured.
    """
    metadata = read_metadata(path)
    if metadata.get("capture") != _FORMAT:
        raise RunError(f"{path}: not a capture that this version reads; run it again")
    about = restored_text(_CaptureMetadata, metadata.get("about"), str(path))
    slots = read_slots(path, device)
    if about.plan != plan_key(plan):
        _check(path, plan, about, slots)
    (rows,) = read_tensors(path, [_ROWS])
    stored = evolve(plan, quadratic_folds=about.quadratic_folds, notes=about.notes)
    counts = Counts.of_json(about.counts)
    return Capture(StoredStates({}, plan.budget, slots), rows, stored, counts)


def _check(
    path: Path, plan: CapturePlan, about: _CaptureMetadata, slots: dict[str, dict[object, Slot]]
) -> None:
    for name in ("folds", "classes"):
        there, needed = getattr(about, name), getattr(plan, name)
        if there != needed:
            raise RunError(f"{path}: has {there} {name}, the plan needs {needed}; run it again")
    if plan.pairwise and about.position_fraction != plan.position_fraction:
        raise RunError(
            f"{path}: covariances read {about.position_fraction:g} of the positions, the plan "
            f"needs {plan.position_fraction:g}; run it again"
        )
    counts = Counts.of_json(about.counts)
    asked: list[tuple[str, Any]] = [
        (entry.name, s) for entry in plan.everything for s in entry.statistics
    ]
    asked += [(entry.name, s) for entry in plan.entries for s in plan.visits]
    for place, statistic in asked:
        lost = counts.reason(place, statistic)
        if not lost and covering(statistic, slots.get(place, {})) is None:
            raise RunError(f"{path}: has no {statistic} of {place}; run again with that metric")

"""Checkpoints: the position of a capture in files, to resume from after a kill."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from attrs import asdict, define, field, frozen
from torch import Tensor

from nodelens.capture.checkpoint.specification import spec_of
from nodelens.capture.checkpoint.spilled_states import StoredStates, read_slots, write_states
from nodelens.capture.counts import Counts
from nodelens.config.stored_values import restored_text
from nodelens.errors import RunError
from nodelens.storage.tensor_files import read_metadata, read_tensors

if TYPE_CHECKING:
    from nodelens.capture.hooks.accumulator import States
    from nodelens.capture.plan.capture_plan import CapturePlan

log = logging.getLogger("nodelens")

NAME = "checkpoint.safetensors"
FORMAT = "nodelens checkpoint 3"
_FEWEST_TIMES = 10
"""The smallest time between two files, in times that one takes to write."""


@define(eq=False)
class Position:
    """The position of a capture: finished passes, batches read, and all states.

    `passes` are finished; the present pass has read `batches` with `samples`. `limit` is the number
    of batches of the first pass, None until it ends early. `counts` are the reads of finished
    passes, `now` and `pivots` belong to the present pass. `stored` are the states of finished
    passes in files, `first` is a digest of the first batch.
    """

    rows: Tensor
    states: States = field(factory=dict)
    counts: Counts = field(factory=Counts)
    now: Counts = field(factory=Counts)
    passes: int = 0
    batches: int = 0
    samples: int = 0
    limit: int | None = None
    pivots: dict[tuple[str, str], Tensor] = field(factory=dict)
    stored: StoredStates = field(factory=StoredStates)
    first: str = ""

    def counts_so_far(self) -> Counts:
        """Return the counts of reads of all passes together."""
        total = Counts.of_json(self.counts.as_json())
        total.add(self.now)
        return total

    def __str__(self) -> str:
        """Return the position in words."""
        samples = int(self.rows.sum())
        return f"pass {self.passes + 1}, after {self.batches} batches ({samples} samples)"


@frozen
class _CheckpointMetadata:
    """The position in the metadata of a checkpoint; the tensors are in the file."""

    passes: int
    batches: int
    samples: int
    limit: int | None
    counts: dict[str, dict[str, int | str]]
    now: dict[str, dict[str, int | str]]
    pivots: tuple[tuple[str, str, str], ...]
    stored: tuple[str, ...]


@define
class _Clock:
    """The time when the last file was written, and the seconds that writing took."""

    written: float
    cost: float = 0.0


@frozen(eq=False)
class Checkpoint:
    """The file that a capture saves its position to, and the interval between saves.

    `key` stands for the data and the model; checkpoints with another key are refused. Every process
    of a capture has a `name` of its own. `seconds` of None saves only at the end of passes.
    `resumed` is called with the position that the capture resumes from.
    """

    folder: Path
    key: str = ""
    seconds: float | None = 60.0
    name: str = NAME
    resumed: Callable[[Position], None] | None = None
    _clock: _Clock = field(init=False, factory=lambda: _Clock(time.monotonic()))

    def due(self) -> bool:
        """Return whether the last file is older than `seconds`.

        Where writing takes long, files are due more seldom, so that they take a tenth of the time
        at most; with 0 seconds a file is always due.
        """
        if self.seconds is None:
            return False
        wait = max(self.seconds, _FEWEST_TIMES * self._clock.cost) if self.seconds else 0.0
        return time.monotonic() - self._clock.written >= wait

    def save(self, plan: CapturePlan, position: Position) -> None:
        """Write the position and all states in memory, atomically; raises `RunError`."""
        pivots = list(position.pivots.items())
        others = {"rows": position.rows, **{f"pivot {n}": p for n, (_, p) in enumerate(pivots)}}
        where = _CheckpointMetadata(
            passes=position.passes,
            batches=position.batches,
            samples=position.samples,
            limit=position.limit,
            counts=position.counts.as_json(),
            now=position.now.as_json(),
            pivots=tuple((*at, str(pivot.device)) for at, pivot in pivots),
            stored=tuple(file.name for file in position.stored.files),
        )
        meta = {"capture": FORMAT, "position": json.dumps(asdict(where)), "key": self.key}
        meta |= {"plan": plan_key(plan)}
        started = time.monotonic()
        write_states(self.folder / self.name, position.states, others, meta)
        self._clock.written = time.monotonic()
        self._clock.cost = self._clock.written - started

    def load(self, plan: CapturePlan) -> Position | None:
        """Return the position to resume from; None without one, or when its file is damaged.

        Raises `RunError` for a file of other data, another model or another plan.
        """
        path = self.folder / self.name
        if not path.is_file():
            return None
        try:
            meta = read_metadata(path)
        except RunError as error:
            log.warning("%s; the capture starts again", error)
            return None
        self._check(path, meta, plan)
        try:
            where = restored_text(_CheckpointMetadata, meta.get("position"), str(path))
            position = _position(path, where, plan)
        except RunError as error:
            log.warning("%s; the capture starts again", error)
            return None
        if self.resumed is not None:
            self.resumed(position)
        return position

    def _check(self, path: Path, meta: dict[str, str], plan: CapturePlan) -> None:
        if meta.get("capture") != FORMAT:
            raise RunError(f"{path}: not a checkpoint that this version reads; start the run again")
        if meta.get("key") != self.key:
            raise RunError(
                f"{path}: the checkpoint was taken on other samples or another model; "
                "restore these, or start a new run"
            )
        if meta.get("plan") != plan_key(plan):
            raise RunError(
                f"{path}: the checkpoint is of another plan (metrics, folds or memory); "
                "start a new run"
            )


def plan_key(plan: CapturePlan) -> str:
    """Return a digest of a plan: everything that it reads, the folds, and the passes."""
    entries = [
        [entry.name, str(entry.layout), [spec_of(s) for s in entry.statistics]]
        for entry in plan.everything
    ]
    visits = [spec_of(statistic) for statistic in plan.visits]
    whole = [entries, visits, plan.folds, plan.quadratic_folds, plan.classes, plan.parts]
    whole += [plan.position_fraction] if plan.thinned else []
    return hashlib.sha256(json.dumps(whole).encode()).hexdigest()


def _position(path: Path, where: _CheckpointMetadata, plan: CapturePlan) -> Position:
    """Return the position in a file, tensors on their former devices; raises `RunError`."""
    names = ["rows", *(f"pivot {number}" for number in range(len(where.pivots)))]
    rows, *pivots = read_tensors(path, names)
    states: States = {
        place: {statistic: slot.load() for statistic, slot in slots.items()}
        for place, slots in read_slots(path).items()
    }
    stored = StoredStates(states, plan.budget)
    for name in where.stored:
        stored.add(read_slots(path.parent / name))
    position = Position(
        rows=rows,
        states=states,
        counts=Counts.of_json(where.counts),
        now=Counts.of_json(where.now),
        passes=where.passes,
        batches=where.batches,
        samples=where.samples,
        limit=where.limit,
        stored=stored,
    )
    for (place, at, device), pivot in zip(where.pivots, pivots, strict=True):
        position.pivots[place, at] = _shared(pivot.to(device), states.get(place, {}))
    return position


def _shared(pivot: Tensor, states: dict[Any, Any]) -> Tensor:
    """Let states with an equal pivot hold this very tensor, so that sums are common to them."""
    for state in states.values():
        if "pivot" in state and torch.equal(state["pivot"], pivot):
            state["pivot"] = pivot
    return pivot

"""Merging of the states of several workers, by the statistics' own merge."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from nodelens.capture.checkpoint.checkpoint import Position, plan_key
from nodelens.capture.counts import Counts
from nodelens.errors import CaptureError
from nodelens.storage.tensors import state_from_bytes, state_to_bytes

if TYPE_CHECKING:
    from nodelens.capture.distributed.workers import Workers
    from nodelens.capture.plan.capture_plan import CapturePlan, Entry
    from nodelens.interfaces.statistic import State


def first_pass(workers: Workers, plan: CapturePlan, passes: int) -> int:
    """Return the pass that all workers start from, given the passes that each has finished.

    0 where the workers do not agree; where rank 0 has finished all passes, so have the others.
    Raises `CaptureError`, on rank 0, when plans differ.
    """
    key = plan_key(plan)
    if workers.rank:
        workers.channel.send(json.dumps([key, workers.world_size, passes]).encode(), 0)
    starts = {passes}
    for other in workers.others if not workers.rank else ():
        their_key, world_size, start = json.loads(workers.channel.receive(other))
        if (their_key, world_size) != (key, workers.world_size):
            raise CaptureError(
                f"rank {other} has another plan than rank 0; start all workers with the same "
                "config and the same batches"
            )
        starts.add(start)
    alike = len(starts) == 1 or passes == plan.passes
    return int(workers.spread(str(passes if alike else 0).encode()))


def merge_pass(
    workers: Workers,
    plan: CapturePlan,
    done: Position,
    read: Mapping[str, Sequence[Any]],
    everywhere: bool,
) -> None:
    """Merge the states of all workers after one pass into `done`: on rank 0, or everywhere.

    `read` are the statistics of each place in the pass.
    """
    _merge_counts(workers, done, everywhere)
    for entry in plan.everything:
        statistics = read.get(entry.name, ())
        if statistics:
            own = done.states.setdefault(entry.name, {})
            _merge_place(workers, plan, entry, statistics, own)
            if everywhere:
                _spread_place(workers, statistics, own)


def _merge_counts(workers: Workers, done: Position, everywhere: bool) -> None:
    """Add up the counts of reads, and of rows by fold, which the first pass counts."""
    if workers.rank:
        workers.channel.send(_counted(done), 0)
    for other in workers.others if not workers.rank else ():
        first, rows, counts = json.loads(workers.channel.receive(other))
        if first != done.first:
            raise CaptureError(
                f"rank {other} was given other batches than rank 0; give all workers the same ones "
                "in the same order"
            )
        if not done.passes:
            done.rows += torch.tensor(rows, dtype=torch.int64)
        done.now.add(Counts.of_json(counts))
    if everywhere:
        _, rows, counts = json.loads(workers.spread(_counted(done)))
        done.rows, done.now = torch.tensor(rows, dtype=torch.int64), Counts.of_json(counts)


def _counted(done: Position) -> bytes:
    return json.dumps([done.first, done.rows.tolist(), done.now.as_json()]).encode()


def _merge_place(
    workers: Workers,
    plan: CapturePlan,
    entry: Entry,
    statistics: Sequence[Any],
    own: dict[Any, State],
) -> None:
    """Merge the states of all workers for one place into those of rank 0."""
    if workers.rank:
        workers.channel.send(packed(statistics, own), 0)
    for other in workers.others if not workers.rank else ():
        _add(plan, entry, own, unpacked(statistics, workers.channel.receive(other)))


def _spread_place(workers: Workers, statistics: Sequence[Any], own: dict[Any, State]) -> None:
    """Send the merged states of one place from rank 0 to all workers."""
    whole = b"" if workers.rank else packed(statistics, own)
    own.update(unpacked(statistics, workers.spread(whole), own))


def _add(
    plan: CapturePlan, entry: Entry, into: dict[Any, State], other: Mapping[Any, State]
) -> None:
    for statistic, state in other.items():
        if statistic not in into:
            device = next(iter(state.values())).device
            into[statistic] = statistic.start(plan.layout(entry, statistic, device))
        statistic.merge(into[statistic], state)


def packed(statistics: Sequence[Any], states: Mapping[Any, State]) -> bytes:
    """Return states as the bytes of a safetensors file, named by the number of the statistic."""
    tensors = {
        f"{number}/{name}": tensor
        for number, statistic in enumerate(statistics)
        for name, tensor in states.get(statistic, {}).items()
    }
    return state_to_bytes(tensors)


def unpacked(
    statistics: Sequence[Any], data: bytes, like: Mapping[Any, State] | None = None
) -> dict[Any, State]:
    """Return the states in bytes of `packed`, on the CPU or where the states of `like` are."""
    states: dict[Any, State] = {}
    for key, tensor in state_from_bytes(data).items():
        number, name = key.split("/", 1)
        statistic = statistics[int(number)]
        there = next(iter((like or {}).get(statistic, {}).values()), tensor).device
        states.setdefault(statistic, {})[name] = tensor.to(there)
    return states

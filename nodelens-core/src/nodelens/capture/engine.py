"""The streaming passes, which update every planned statistic and leave the model unchanged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import torch
from torch import nn

from nodelens.capture.checkpoint.checkpoint import Position
from nodelens.capture.checkpoint.spilled_states import (
    StoredStates,
    slots_of,
    write_states,
)
from nodelens.capture.completeness import check_complete
from nodelens.capture.counts import Counts
from nodelens.capture.distributed.merging import first_pass, merge_pass
from nodelens.capture.distributed.sharding import check_repeatable, sharded_batches
from nodelens.capture.hooks.hook_points import hook_points_of
from nodelens.capture.hooks.propagation import read_batch, visit_batch
from nodelens.capture.hooks.recorder import Recorder
from nodelens.capture.hooks.site_hooks import uncompiled
from nodelens.capture.hooks.site_reading import folds_of
from nodelens.capture.result import Capture
from nodelens.errors import DataError, NodelensError, NotFiniteError
from nodelens.model_state import own_randomness, reseed

if TYPE_CHECKING:
    from nodelens.capture.batches import Batch
    from nodelens.capture.plan.capture_plan import CapturePlan
    from nodelens.capture.request import CaptureRequest
    from nodelens.progress import Progress


def run_capture(request: CaptureRequest) -> Capture:
    """Stream the batches through the model, once per pass, and return the planned statistics.

    Resumes from the request's checkpoint where there is one. What cannot be read is `lost`, with
    the reason. Raises `NotFiniteError` when a value is not finite, `DataError` when no batch came.
    The model's hooks, modes and gradients, and the global random state, are as before in any case.
    """
    check_repeatable(request)
    plan = request.plan
    with (
        torch.inference_mode(False),
        untouched(request.model),
        own_randomness(request.seed, "capture", device=request.device),
        uncompiled(),
    ):
        done = _start(request)
        while done.passes < plan.passes:
            if done.passes < len(plan.streams):
                _stream(request, done)
            else:
                _visit(request, done)
            _end_pass(request, done)
    return captured_until(request, done)


def captured_until(request: CaptureRequest, done: Position) -> Capture:
    """Return the capture of all batches so far."""
    states = done.stored if done.stored.slots else done.states
    return Capture(states, done.rows, request.plan, done.counts_so_far())


def _start(request: CaptureRequest) -> Position:
    known = request.checkpoint and request.checkpoint.load(request.plan)
    start = known.passes if known else 0
    if request.workers.world_size > 1:
        start = first_pass(request.workers, request.plan, start)
    if known and known.passes == start:
        return known
    done = Position(torch.zeros(request.plan.folds, dtype=torch.int64), passes=start)
    done.stored = StoredStates(done.states, request.plan.budget)
    return done


def _stream(request: CaptureRequest, done: Position) -> None:
    """Run one pass that is read by hooks, from its present position."""
    entries = request.plan.streams[done.passes]
    recorder = Recorder(
        request.plan,
        request.graph,
        entries,
        done.states,
        done.now,
        request.observe,
        pivots=done.pivots,
    )
    with recorder.attached(request.model):
        fresh = not done.batches
        batches = sharded_batches(
            request, done, partial(_adopt_pivots, request, done) if fresh else None
        )
        for batch in islice(batches, done.batches, done.limit):
            _draw_anew(request, batch)
            read_batch(request, recorder, batch)
            if _counted(request, done, batch):
                break


def _adopt_pivots(request: CaptureRequest, done: Position, batch: Batch) -> None:
    """Take the pivots from the first batch, which another worker reads, and nothing else.

    Products are taken about the pivot in the precision of the activations: with one pivot, they
    agree on all workers.
    """
    entries = request.plan.streams[done.passes]
    recorder = Recorder(request.plan, request.graph, entries, pivots=done.pivots)
    with recorder.attached(request.model):
        _draw_anew(request, batch)
        read_batch(request, recorder, batch)
    for entry in entries:
        for statistic, state in recorder.states.get(entry.name, {}).items():
            if "pivot" in state:
                layout = request.plan.layout(entry, statistic, state["pivot"].device)
                started = {**statistic.start(layout), "pivot": state["pivot"]}
                done.states.setdefault(entry.name, {})[statistic] = started


def _visit(request: CaptureRequest, done: Position) -> None:
    """Run one pass of a statistic that runs the model itself, from its present position."""
    statistic = request.plan.visits[done.passes - len(request.plan.streams)]
    earlier = captured_until(request, done).states
    for batch in islice(sharded_batches(request, done), done.batches, done.limit):
        _draw_anew(request, batch)
        with _or_lost(request.plan, done, statistic):
            visit_batch(request, statistic, batch, done.states, earlier)
        if _counted(request, done, batch):
            break


@contextmanager
def _or_lost(plan: CapturePlan, done: Position, statistic: object) -> Iterator[None]:
    """Give up a statistic whose own passes fail, and go on with the others."""
    places = [entry.name for entry in plan.entries]
    try:
        yield
    except (DataError, NotFiniteError, torch.OutOfMemoryError):
        raise
    except NodelensError as error:
        for place in places:
            done.now.lose(place, (statistic,), str(error))
    except Exception as error:  # noqa: BLE001 - anyone's statistic
        for place in places:
            done.now.fail(place, statistic, error)


def _draw_anew(request: CaptureRequest, batch: Batch) -> None:
    """Seed the random numbers of a batch, for models that draw some.

    They are equal in all passes and processes, and after a resumption.
    """
    reseed(request.seed, "capture", *batch.numbers[:1].tolist(), device=request.device)


def _counted(request: CaptureRequest, done: Position, batch: Batch) -> bool:
    """Count a batch, report and save the position; return whether the batch was the last needed."""
    done.batches += 1
    done.samples += len(batch.numbers)
    if done.passes == 0:
        fold = folds_of(batch.numbers.cpu(), request.plan.folds)
        done.rows += torch.bincount(fold, minlength=request.plan.folds)
    if request.progress:
        _tell(request, request.progress, done)
    if done.passes == 0 and request.enough and request.enough(captured_until(request, done)):
        done.limit = done.batches
    if request.checkpoint and request.checkpoint.due():
        request.checkpoint.save(request.plan, done)
    return done.batches == done.limit


def _tell(request: CaptureRequest, progress: Progress, done: Position) -> None:
    """Report the progress; passes after one that ended early read as many samples."""
    passes = request.plan.passes
    what = "capture" if passes == 1 else f"capture, pass {done.passes + 1} of {passes}"
    total = request.total if done.limit is None or not done.passes else int(done.rows.sum())
    seen = done.samples * request.workers.world_size
    progress(what, min(seen, total or seen), total)


def _end_pass(request: CaptureRequest, done: Position) -> None:
    """Write the states of a pass to a file where memory is short, and save the position."""
    _merge_ranks(request, done)
    done.passes, done.batches, done.samples = done.passes + 1, 0, 0
    done.counts.add(done.now)
    done.now = Counts()
    done.pivots.clear()
    if request.store and request.plan.spills:
        path = request.store / f"pass-{done.passes}.safetensors"
        write_states(path, done.states, {}, {})
        done.stored.add(slots_of(path, done.states))
        done.states.clear()
    whole_elsewhere = request.workers.rank > 0 and done.passes == request.plan.passes
    if request.checkpoint and request.checkpoint.seconds is not None and not whole_elsewhere:
        request.checkpoint.save(request.plan, done)


def _merge_ranks(request: CaptureRequest, done: Position) -> None:
    """Merge the states of all workers after a pass, and check that every site was read.

    Statistics with passes of their own may read earlier passes, on every worker.
    """
    plan, workers = request.plan, request.workers
    streamed = done.passes < len(plan.streams)
    entries = plan.streams[done.passes] if streamed else plan.entries
    points = (
        [point for entry in entries for point in hook_points_of(entry, request.graph)]
        if streamed
        else []
    )
    everywhere = workers.everywhere or (bool(plan.visits) and done.passes + 1 < plan.passes)
    if workers.world_size > 1:
        visits = () if streamed else (plan.visits[done.passes - len(plan.streams)],)
        read = {entry.name: entry.statistics if streamed else visits for entry in entries}
        merge_pass(workers, plan, done, read, everywhere)
    if everywhere or not workers.rank:
        check_complete(plan, points, done)
    done.now.without_lost(done.states)


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Run the model in eval mode with parameters that need no gradient.

    Afterwards modes, gradients and torch's global random state are as before.
    """
    modes = {module: module.training for module in model.modules()}
    trainable = [each for each in model.parameters() if not each.is_inference()]
    wanted = {parameter: parameter.requires_grad for parameter in trainable}
    model.eval()
    for parameter in wanted:
        parameter.requires_grad_(False)
    gpus = {parameter.device for parameter in wanted if parameter.device.type == "cuda"}
    try:
        with torch.random.fork_rng(devices=list(gpus)):
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        for parameter, flag in wanted.items():
            parameter.requires_grad_(flag)

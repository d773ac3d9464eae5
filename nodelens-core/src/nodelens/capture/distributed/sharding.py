"""Batches of a capture, numbered through, divided over workers, and equal in all passes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from attrs import evolve
from torch import Tensor

from nodelens.capture.batches import Batch, as_batch
from nodelens.errors import DataError

if TYPE_CHECKING:
    from nodelens.capture.checkpoint.checkpoint import Position
    from nodelens.capture.request import CaptureRequest


def check_repeatable(request: CaptureRequest) -> None:
    """Raise `DataError` when several passes are planned over batches that can be read once."""
    if request.plan.passes > 1 and isinstance(request.batches, Iterator):
        raise DataError(
            f"these metrics read the data {request.plan.passes} times, and the batches are an "
            "iterator, which can be read once: give a list or a DataLoader"
        )
    if request.enough and request.workers.world_size > 1:
        raise DataError(
            "a capture that stops when its samples suffice is for one process: each of several "
            "reads its own batches only; leave stop_when out, or start one process"
        )


def sharded_batches(
    request: CaptureRequest,
    done: Position,
    first_elsewhere: Callable[[Batch], None] | None = None,
) -> Iterator[Batch]:
    """Yield this worker's batches on its device, with the rows of all batches numbered through.

    Batches without rows are left out. `first_elsewhere` gets the first batch if another worker
    reads it. Raises `DataError` where the first batch is not that of the pass before.
    """
    first = 0
    for number, value in enumerate(request.batches):
        batch = _numbered(value, first, number + 1)
        if not batch.rows:
            continue
        if not first:
            _check_same(done, batch)
        if request.workers.has(number):
            yield batch.to(request.device)
        elif not first and first_elsewhere:
            first_elsewhere(batch.to(request.device))
        first += batch.rows


def _numbered(value: Any, first: int, number: int) -> Batch:
    try:
        return evolve(as_batch(value, first), number=number)
    except DataError as error:
        raise DataError(f"batch {number}: {error}") from error


def _check_same(done: Position, batch: Batch) -> None:
    """Record the first batch, or compare with it: in another order, folds would differ."""
    digest = _digest(batch)
    if done.first and done.first != digest:
        raise DataError(
            f"the first batch of pass {done.passes + 1} is not that of the pass before: these "
            "batches are shuffled or made anew each time they are read; give them in one order "
            "(a DataLoader without shuffle), or more memory for a single pass"
        )
    done.first = digest


def _digest(batch: Batch) -> str:
    """Return a digest of the first row of every tensor in a batch."""
    digest = hashlib.sha256()
    for value in (*batch.args, *batch.kwargs.values(), batch.targets):
        if isinstance(value, Tensor) and value.numel():
            row = value.detach().reshape(len(value), -1)[0] if value.ndim else value.detach()
            digest.update(row.reshape(-1).cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()

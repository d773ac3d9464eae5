"""Capture by several worker processes: each reads its own batches, one merge at the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol

import torch
from attrs import field, frozen

from nodelens.capture.distributed.torchrun import launched, launched_here
from nodelens.errors import CaptureError

WAIT = timedelta(days=30)
"""The longest wait of a worker for another: training on one worker may take days.

A worker that has ended is noticed at once: its connection closes, and the launcher ends the others.
"""


class Channel(Protocol):
    """A connection by which two workers exchange bytes, in the order of sending."""

    def send(self, data: bytes, to: int) -> None:
        """Send bytes to a worker."""

    def receive(self, source: int) -> bytes:
        """Return the next bytes from a worker."""


@frozen(eq=False)
class GroupChannel:
    """A channel over torch's process group: on the CPU with gloo, on the GPU with nccl."""

    def send(self, data: bytes, to: int) -> None:
        """Send the number of bytes, then the bytes themselves."""
        from torch import distributed

        content = torch.frombuffer(bytearray(data or b" "), dtype=torch.uint8)
        with _connected(to):
            for tensor in (torch.tensor([len(data)]), content):
                distributed.send(tensor.to(_device()), to)

    def receive(self, source: int) -> bytes:
        """Return the bytes that a worker sent."""
        from torch import distributed

        with _connected(source):
            size = torch.zeros(1, dtype=torch.int64, device=_device())
            distributed.recv(size, source)
            content = torch.empty(max(1, int(size)), dtype=torch.uint8, device=_device())
            distributed.recv(content, source)
            return content.cpu().numpy().tobytes()[: int(size)]


def _device() -> torch.device:
    """Return the device that tensors are sent from."""
    from torch import distributed

    return torch.device("cuda" if distributed.get_backend() == "nccl" else "cpu")


@contextmanager
def _connected(rank: int) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # torch has no narrower class for a connection that closed
        raise CaptureError(
            f"rank {rank} has ended before the statistics were merged; its own message says why"
        ) from error


@frozen(eq=False)
class Workers:
    """The place of this process among the workers of a capture, and the batches that it reads.

    Batch ``b`` of the data is read by rank ``b % world_size``, so that every worker must be given
    the same batches in the same order. Rank 0 ends with the statistics of all batches; with
    `everywhere` every worker does. With `last` the workers part after this merge.
    """

    rank: int = 0
    world_size: int = 1
    everywhere: bool = False
    last: bool = False
    channel: Channel = field(factory=GroupChannel)

    @property
    def others(self) -> range:
        """The workers that rank 0 merges, in order."""
        return range(1, self.world_size)

    def has(self, number: int) -> bool:
        """Return whether this worker reads the batch with a number."""
        return number % self.world_size == self.rank

    def spread(self, data: bytes = b"") -> bytes:
        """Return the bytes of rank 0 on every worker."""
        if self.rank:
            return self.channel.receive(0)
        for other in self.others:
            self.channel.send(data, other)
        return data


def group_workers() -> Workers:
    """Return the place of this process in torch's process group; rank 0 of 1 without one."""
    from torch import distributed

    if not (distributed.is_available() and distributed.is_initialized()):
        return Workers()
    return Workers(distributed.get_rank(), distributed.get_world_size(), everywhere=True)


def own_device(device: torch.device) -> torch.device:
    """Return the device of this process: ``cuda`` is one GPU for each process of a machine."""
    if str(device) != "cuda" or launched()[1] == 1:
        return device
    return torch.device("cuda", launched_here()[0] % torch.cuda.device_count())


@contextmanager
def joined_group(device: torch.device) -> Iterator[Workers]:
    """Join the processes that torchrun has started, for as long as the context is open.

    With nccl where each process of the machine has a GPU of its own, else with gloo. One process
    alone joins nothing. All workers are to leave together: see `leave_group`.
    """
    from torch import distributed

    rank, world_size = launched()
    if world_size == 1:
        yield Workers()
        return
    distributed.init_process_group(_backend(device), timeout=WAIT)
    yield Workers(rank, world_size)
    leave_group()


def leave_group() -> None:
    """Leave torch's process group, if this process is still in it."""
    from torch import distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()


def _backend(device: torch.device) -> str:
    if device.type != "cuda":
        return "gloo"
    torch.cuda.set_device(device)
    return "nccl" if launched_here()[1] <= torch.cuda.device_count() else "gloo"

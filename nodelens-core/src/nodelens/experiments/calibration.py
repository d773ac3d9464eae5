"""The calibration samples as batches, and digests of samples and models."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from attrs import evolve, frozen
from torch import Tensor, nn

from nodelens.capture.hooks.site_reading import folds_of
from nodelens.data.splits import batches

if TYPE_CHECKING:
    from nodelens.capture.batches import Batch
    from nodelens.capture.plan.capture_plan import CapturePlan
    from nodelens.interfaces.dataset import Samples

_PROBES = 256
"""The number of samples in a fingerprint, evenly apart; all labels are in it."""


@frozen(eq=False)
class FoldBatches:
    """Batches of samples in the order of their folds; no batch has samples of two folds.

    A product of all pairs of nodes is then one product per batch. Every row keeps its number in the
    data, and with it its fold. Quadratic statistics have
    `quadratic_folds` folds.
    """

    samples: Samples
    size: int
    folds: int
    quadratic_folds: int

    def __iter__(self) -> Iterator[Batch]:
        numbers = torch.arange(len(self.samples))
        fold = folds_of(numbers, self.folds) % self.quadratic_folds
        for each in range(self.quadratic_folds):
            for part in torch.split(numbers[fold == each], self.size):
                yield from self._batch(part)

    def _batch(self, numbers: Tensor) -> Iterator[Batch]:
        for batch in batches(self.samples.take(numbers), self.size):
            yield evolve(batch, index=numbers)


def calibration_batches(
    samples: Samples, size: int, plan: CapturePlan, in_order: bool
) -> list[Batch] | FoldBatches:
    """Return the batches in the best order for a plan; `in_order` keeps the order of samples."""
    if in_order or not plan.needs("quadratic"):
        return batches(samples, size)
    return FoldBatches(samples, size, plan.folds, plan.quadratic_folds or plan.folds)


def fingerprint(samples: Samples) -> str:
    """Return a digest that identifies the samples, from all labels and some of the inputs."""
    digest = hashlib.sha256(str(tuple(samples.inputs.shape)).encode())
    some = torch.linspace(0, len(samples) - 1, min(len(samples), _PROBES)).long()
    fields = (samples.fields[name][some] for name in sorted(samples.fields))
    for tensor in (samples.targets, samples.inputs[some], *fields):
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def fingerprint_of_model(model: nn.Module) -> str:
    """Return a digest that identifies a model's parameters and buffers, from sums of each."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        values = tensor.detach().double()
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(_bytes(torch.stack([values.sum(), values.abs().sum()])))
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data

"""Normalization of every channel to mean 0 and standard deviation 1 on the training split."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from attrs import evolve, frozen
from torch import Tensor

if TYPE_CHECKING:
    from nodelens.interfaces.dataset import Samples


@frozen
class Normalization:
    """The mean and the standard deviation of every channel (axis 1), over samples and positions.

    A channel that is constant in the training split has the deviation 1: it is centred only.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def apply(self, samples: Samples) -> Samples:
        """Return new samples with (input - mean) / std; the given ones are not changed."""
        shape = (1, -1) + (1,) * (samples.inputs.ndim - 2)
        mean = torch.tensor(self.mean, dtype=torch.float32).view(shape)
        std = torch.tensor(self.std, dtype=torch.float32).view(shape)
        return evolve(samples, inputs=(samples.inputs - mean) / std)


def measure(inputs: Tensor) -> Normalization:
    """Return the mean and deviation of every channel of `inputs`, ``(samples, channels, ...)``.

    Sums are float64; the deviation divides by the number of values.
    """
    by_channel = inputs.movedim(1, 0).flatten(1)
    means, deviations = [], []
    for values in by_channel:  # one channel at a time: float64 copies stay small
        constant = bool(values.min() == values.max())
        exact = values.double()
        means.append(float(exact.mean()))
        deviations.append(1.0 if constant else float(exact.std(correction=0)))
    return Normalization(tuple(means), tuple(deviations))

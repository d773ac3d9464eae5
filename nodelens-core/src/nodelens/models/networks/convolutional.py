"""The plain convolutional network."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise

from attrs import frozen
from torch import Tensor, nn

from nodelens.models.networks.activations import activation

_POOLS: dict[str, type[nn.MaxPool2d] | type[nn.AvgPool2d]] = {
    "max": nn.MaxPool2d,
    "average": nn.AvgPool2d,
}


@frozen
class BlockOptions:
    """The options of every convolution block of a network."""

    kernel_size: int
    batch_norm: bool
    activation: str
    pooling: str


class ConvolutionalNetwork(nn.Module):
    """Convolution blocks and a linear head.

    Takes ``(rows, channels, height, width)`` to ``(rows, classes)``. `channels` starts with those
    of the input. The head reads all `positions` of the last map; with None, each channel's average.
    """

    def __init__(
        self,
        channels: Sequence[int],
        options: BlockOptions,
        positions: int | None,
        classes: int,
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(convolution_block(inputs, outputs, options) for inputs, outputs in pairwise(channels))
        )
        self.average = nn.AdaptiveAvgPool2d(1) if positions is None else nn.Identity()
        self.flatten = nn.Flatten()
        self.head = nn.Linear(channels[-1] * (positions or 1), classes)

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.head(self.flatten(self.average(self.features(inputs))))
        return logits


def convolution_block(inputs: int, channels: int, options: BlockOptions) -> nn.Sequential:
    """Return convolution, normalisation, nonlinearity, and pooling that halves height and width."""
    steps: OrderedDict[str, nn.Module] = OrderedDict()
    steps["conv"] = nn.Conv2d(
        inputs,
        channels,
        options.kernel_size,
        padding=options.kernel_size // 2,
        bias=not options.batch_norm,  # the normalisation would subtract a bias again
    )
    if options.batch_norm:
        steps["norm"] = nn.BatchNorm2d(channels)
    steps["activation"] = activation(options.activation)
    if options.pooling != "none":
        steps["pool"] = _POOLS[options.pooling](2)
    return nn.Sequential(steps)

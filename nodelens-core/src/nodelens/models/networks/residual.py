"""The residual network with basic blocks (He et al. 2016, arXiv 1512.03385, section 3.3)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, which is a 1x1 convolution where shapes change."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.activation1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.shortcut = shortcut(inputs, width, stride)
        self.activation2 = nn.ReLU()

    def forward(self, inputs: Tensor) -> Tensor:
        """Return ``(rows, width, height / stride, width / stride)``."""
        inner = self.activation1(self.norm1(self.conv1(inputs)))
        branch = self.norm2(self.conv2(inner))
        result: Tensor = self.activation2(branch + self.shortcut(inputs))
        return result


def shortcut(inputs: int, width: int, stride: int) -> nn.Module:
    """Return the identity, or a normalised 1x1 convolution to the new shape (option B)."""
    if inputs == width and stride == 1:
        return nn.Identity()
    conv = nn.Conv2d(inputs, width, 1, stride, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, norm=nn.BatchNorm2d(width)))


def stem(inputs: int, width: int, size: str) -> nn.Sequential:
    """Return the first layers: ``small`` keeps height and width, ``large`` quarters both."""
    large = size == "large"
    kernel, stride = (7, 2) if large else (3, 1)
    steps: OrderedDict[str, nn.Module] = OrderedDict(
        conv=nn.Conv2d(inputs, width, kernel, stride, padding=kernel // 2, bias=False),
        norm=nn.BatchNorm2d(width),
        activation=nn.ReLU(),
    )
    if large:
        steps["pool"] = nn.MaxPool2d(3, 2, padding=1)
    return nn.Sequential(steps)


class ResidualNetwork(nn.Module):
    """A stem, stages of basic blocks, and a linear head on channel means.

    Stage ``i`` has ``width * 2**i`` channels; every stage but the first halves height and width.
    """

    def __init__(
        self, inputs: int, classes: int, blocks: Sequence[int], width: int, stem_size: str
    ) -> None:
        super().__init__()
        self.stem = stem(inputs, width, stem_size)
        stages, current = [], width
        for level, count in enumerate(blocks):
            outputs = width * 2**level
            stages.append(stage(current, outputs, count, stride=1 if level == 0 else 2))
            current = outputs
        self.stages = nn.Sequential(*stages)
        self.average = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(current, classes)
        self.apply(_initialise)

    def forward(self, inputs: Tensor) -> Tensor:
        maps = self.stages(self.stem(inputs))
        logits: Tensor = self.head(self.flatten(self.average(maps)))
        return logits


def stage(inputs: int, width: int, count: int, stride: int) -> nn.Sequential:
    """Return `count` blocks of one width; the first of them changes the shape."""
    first = BasicBlock(inputs, width, stride)
    return nn.Sequential(first, *(BasicBlock(width, width, 1) for _ in range(count - 1)))


def _initialise(module: nn.Module) -> None:
    """Draw the weights of convolutions by He et al. 2015 (arXiv 1502.01852, eq. 10, by outputs)."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

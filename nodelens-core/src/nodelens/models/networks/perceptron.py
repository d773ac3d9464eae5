"""The multilayer perceptron."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from nodelens.models.networks.activations import activation


class Perceptron(nn.Module):
    """Hidden layers and a linear head on flat samples: ``(rows, ...)`` to ``(rows, classes)``."""

    def __init__(
        self, input_shape: Sequence[int], classes: int, hidden: Sequence[int], activation_name: str
    ) -> None:
        super().__init__()
        widths = [math.prod(input_shape), *hidden]
        self.flatten = nn.Flatten()
        self.hidden = nn.Sequential(
            *(hidden_layer(inputs, width, activation_name) for inputs, width in pairwise(widths))
        )
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.head(self.hidden(self.flatten(inputs)))
        return logits


def hidden_layer(inputs: int, width: int, activation_name: str) -> nn.Sequential:
    """Return a linear map and its nonlinearity: ``(rows, inputs)`` to ``(rows, width)``."""
    return nn.Sequential(
        OrderedDict(linear=nn.Linear(inputs, width), activation=activation(activation_name))
    )

"""Blocks: the outermost modules that read and return the same nodes."""

from __future__ import annotations

import pytest
import torch
from tests.core.channels.architectures import build
from torch import nn
from torch.nn import functional as F

from nodelens.channels.groups import Block
from nodelens.channels.infer import infer

BLOCKS = {
    "mlp": (),
    "vgg": (),
    "resnet": (Block("1", "0:channels", 1),),
    "mobilenet": (Block("1", "0:channels", 1),),
    "transformer_encoder": (
        Block("1.layers.0", "0:residual", 2),
        Block("1.layers.1", "0:residual", 2),
    ),
    "mixer": (Block("blocks.0", "patch:residual", 2), Block("blocks.1", "patch:residual", 2)),
    "lstm": (),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_of_the_suite(name):
    model, inputs = build(name)
    assert infer(model, *inputs).blocks == BLOCKS[name]


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.up, self.down = nn.Linear(width, 7), nn.Linear(7, width)

    def forward(self, x):
        return x + self.down(F.relu(self.up(x)))


class Layer(nn.Module):
    """A layer of two parts, each with a sum of its own."""

    def __init__(self):
        super().__init__()
        self.one, self.two = Residual(6), nn.Sequential(Residual(6))

    def forward(self, x, scale=None):
        return (self.two(self.one(x)), scale)


class Stack(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Linear(4, 6), nn.Linear(6, 2)
        self.layers = nn.ModuleList(Layer() for _ in range(3))

    def forward(self, x):
        x = self.embed(x)
        for layer in self.layers:
            x, _ = layer(x=x)
        return self.head(x)


def test_layers_are_blocks_and_not_their_parts():
    blocks = infer(Stack(), torch.zeros(3, 5, 4)).blocks
    assert [block.module for block in blocks] == ["layers.0", "layers.1", "layers.2"]
    assert {(block.group, block.axis) for block in blocks} == {("embed:residual", 2)}


def test_norms_activations_and_single_layers_are_no_blocks():
    model = nn.Sequential(
        nn.Linear(4, 6), nn.Sequential(nn.LayerNorm(6), nn.ReLU()), nn.Linear(6, 6), nn.Linear(6, 2)
    )
    assert infer(model, torch.zeros(3, 4)).blocks == ()

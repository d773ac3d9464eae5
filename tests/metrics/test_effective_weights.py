"""A model that computes its weights, and its twin that stores them, by every metric at once."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import (
    parametrizations,
    parametrize,
    prune,
    spectral_norm,
    weight_norm,
)

import nodelens
from every_metric import OFFERS, REQUIRED

METRICS = [
    {"name": offer.spec.name, **REQUIRED.get(offer.spec.name, {})} for offer in OFFERS
]


def scaled_by_row(layer, scale):
    with torch.no_grad():
        scale.mul_(torch.linspace(0.2, 3.0, scale.numel()).view_as(scale))
    return layer


def with_weight_norm(layer):
    parametrizations.weight_norm(layer)
    return scaled_by_row(layer, layer.parametrizations.weight.original0)


def with_old_weight_norm(layer):
    weight_norm(layer)
    return scaled_by_row(layer, layer.weight_g)


def with_pruning(layer):
    prune.random_unstructured(layer, "weight", 0.5)
    return prune.l1_unstructured(layer, "weight", 0.3)


def with_pruned_rows(layer):
    return prune.ln_structured(layer, "weight", 0.4, n=1, dim=0)


class Multiplied(nn.Module):
    """A layer whose forward multiplies with ``made(weight)``."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.weight, self.bias = [layer], layer.weight, layer.bias

    def forward(self, x):
        call = F.linear if isinstance(self.layer[0], nn.Linear) else F.conv2d
        return call(x, self.made(), self.bias)

"""A loss as a config names it."""

from __future__ import annotations


def squares(output, batch):
    return output.square().flatten(1).sum(1)


def net():
    import torch
    from torch import nn

    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, 2))

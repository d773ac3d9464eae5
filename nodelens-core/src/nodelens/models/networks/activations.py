"""The nonlinearities of the reference networks."""

from __future__ import annotations

from torch import nn

_MODULES: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


def activation(name: str) -> nn.Module:
    """Return a new activation module: ``relu``, ``gelu``, ``silu`` or ``tanh``."""
    return _MODULES[name]()

"""Inputs of producers as rows of features; inputs of convolutions are unfolded."""

from __future__ import annotations

import math

import torch
from attrs import frozen
from torch import Tensor, nn
from torch.nn import functional as F

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@frozen
class InputShape:
    """The shape of a producer's input: `blocks` equal runs of features; each node reads one run.

    `features` counts all runs together; `outputs` is the number of rows of the weight.
    """

    features: int
    outputs: int
    blocks: int = 1


def input_shape(module: nn.Module) -> InputShape | None:
    """Return the shape of the input that a module's weight is multiplied with, None without one.

    Linear layers, convolutions (not transposed ones), and the transposed Linear of GPT-2, whose
    weight is ``(inputs, outputs)``.
    """
    if isinstance(module, nn.Linear):
        return InputShape(module.in_features, module.out_features)
    if isinstance(module, _CONVOLUTIONS):
        features = module.in_channels * math.prod(module.kernel_size)
        return InputShape(features, module.out_channels, module.groups)
    if type(module).__name__ == "Conv1D":
        inputs, outputs = module.nx, module.nf
        assert isinstance(inputs, int) and isinstance(outputs, int)
        return InputShape(inputs, outputs)
    return None


def features_of(module: nn.Module, tensor: Tensor) -> Tensor:
    """Return the features that each application of the weight reads, ``(…, features)``.

    The features of a convolution are ordered as its weight is: block, channel, kernel position; the
    other axes are ``(batch, *positions)``.
    """
    return _patches(module, tensor) if isinstance(module, _CONVOLUTIONS) else tensor


def outputs_of(module: nn.Module, tensor: Tensor) -> Tensor:
    """Return a module's output, or its gradient, as ``(…, outputs)``."""
    return tensor.movedim(1, -1) if isinstance(module, _CONVOLUTIONS) else tensor


def _patches(module: nn.Conv1d | nn.Conv2d | nn.Conv3d, tensor: Tensor) -> Tensor:
    padded = _padded(module, tensor)
    dims = range(2, tensor.ndim)
    for axis in dims:
        size, step = module.kernel_size[axis - 2], module.dilation[axis - 2]
        padded = padded.unfold(axis, step * (size - 1) + 1, module.stride[axis - 2])[..., ::step]
    kernel = range(tensor.ndim, padded.ndim)
    return padded.permute(0, *dims, 1, *kernel).flatten(1 + len(dims))


def _padded(module: nn.Conv1d | nn.Conv2d | nn.Conv3d, tensor: Tensor) -> Tensor:
    amounts = list(module._reversed_padding_repeated_twice)
    if not any(amounts):
        return tensor
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    return F.pad(tensor, amounts, mode=mode)


def weight_rows(module: nn.Module, weight: Tensor) -> Tensor:
    """Return a weight as ``(outputs, fan_in)``, the features in the order of `features_of`."""
    return weight.T if type(module).__name__ == "Conv1D" else torch.flatten(weight, 1)

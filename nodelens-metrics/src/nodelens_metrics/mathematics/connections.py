"""Absolute weights that read nodes, in one shape for matrices and all convolutions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodelens.errors import NotApplicableError

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.channels.groups import ParameterSlice
    from nodelens.scoring.view import GroupView


def output_axis(view: GroupView, part: ParameterSlice) -> int:
    """Return the output axis of a weight, given its slice along the axis that it reads.

    Raises `NotApplicableError` for a parameter that is neither a matrix nor the weight of a
    convolution.
    """
    from torch.nn.modules.conv import _ConvNd

    module = view.network.modules.get(part.module)
    matrix = view.parameters[part.parameter].ndim == 2
    if part.axis > 1 or not (matrix or isinstance(module, _ConvNd)):
        raise NotApplicableError(f"{part.parameter} is neither a matrix nor a convolution's weight")
    return 1 - part.axis


def connections(view: GroupView, part: ParameterSlice) -> Tensor:
    """Return |W| of a weight that reads nodes, ``(groups, outputs, inputs, kernel)`` float64.

    Outputs and inputs are those of one group of a grouped convolution. Raises `NotApplicableError`
    for a parameter that is neither a matrix nor the weight of a convolution.
    """
    output_axis(view, part)
    weight = view.parameters[part.parameter].detach().abs().double()
    module = view.network.modules.get(part.module)
    groups = int(getattr(module, "groups", 1)) if weight.ndim > 2 else 1
    apart = weight.reshape(groups, -1, weight.shape[1], weight[0, 0].numel())
    return apart if part.axis == 1 else apart.transpose(1, 2)


def by_node(part: ParameterSlice, values: Tensor) -> Tensor:
    """Return each node's values from values of inputs, ``(groups, inputs)``.

    ``(nodes, components)``: a node of a grouped convolution is a channel of every group.
    """
    apart = values if part.axis == 1 else values.reshape(1, -1)
    return part.extent.nodes_last(apart, 1).flatten(0, 2).mT


def output_strengths(view: GroupView) -> Tensor:
    """Return the sum of |W| between each node and each output that reads it, ``(nodes, outputs)``.

    All positions of a kernel and all components of a node count together. Raises
    `NotApplicableError` where no matrix and no convolution reads the nodes.
    """
    import torch

    readers = view.group.weights("consumer")
    if not readers:
        raise NotApplicableError("no parameter reads these nodes")
    return torch.cat([strengths(view, part) for part in readers], dim=1)


def strengths(view: GroupView, part: ParameterSlice) -> Tensor:
    """Return the sum of |W| between each node and each output of a weight, ``(nodes, outputs)``.

    The matrices of a stack, such as the experts of a layer, count together. Raises
    `NotApplicableError` for a parameter that is neither a matrix nor the weight of a convolution.
    """
    import torch

    weight = view.parameters[part.parameter].detach()
    module = view.network.modules.get(part.module)
    if weight.ndim == 3 and part.axis and not hasattr(module, "kernel_size"):
        matrix = weight.abs().double().sum(0)
        outputs_first = matrix if part.axis == 2 else matrix.mT
        return part.extent.nodes_last(outputs_first, 1).sum((1, 2)).mT
    mass = connections(view, part).sum(-1)
    if part.axis == 0:
        whole: Tensor = torch.block_diag(*mass)  # type: ignore[no-untyped-call]
        mass = whole.unsqueeze(0)
    return part.extent.nodes_last(mass, 2).sum((2, 3)).flatten(0, 1).mT

"""The check that a model is the one that its channel groups were inferred on."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from nodelens.errors import ModelError

if TYPE_CHECKING:
    from nodelens.channels.groups import ChannelGraph


def check_model(model: object, graph: ChannelGraph) -> None:
    """Raise `ModelError` unless a model has the parameters of a graph, as wide as its groups."""
    from torch import nn

    if not isinstance(model, nn.Module):
        raise ModelError(f"the model must be a torch.nn.Module, got {type(model).__name__}")
    tensors = {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }
    slices = [
        (group, part)
        for group in graph
        for part in group.slices
        if part.parameter not in graph.computed
    ]
    shared = Counter((part.parameter, part.axis) for _, part in slices)
    advice = "infer the groups on this model: nodelens.infer(model, example)"
    for group, part in slices:
        tensor = tensors.get(part.parameter)
        if tensor is None or tensor.ndim <= part.axis:
            raise ModelError(
                f"{group.name} was inferred on another model: this one has no weight "
                f"{part.parameter!r} with an axis {part.axis}; {advice}"
            )
        size, extent = tensor.shape[part.axis], part.extent
        plain = extent.inner * extent.outer == 1 and not extent.offset
        whole = plain and shared[part.parameter, part.axis] == 1
        if extent.width > size or (whole and extent.width != size):
            raise ModelError(
                f"{group.name} was inferred on another model: it has {extent.width} nodes, and "
                f"{part.parameter} of this one has {size}; {advice}"
            )

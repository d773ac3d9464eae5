"""Whether sites and slices agree: masking a node is the same as cutting off who reads it."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch

from nodelens.channels.outputs import output_tensors
from nodelens.masks import mask


def outputs(model, args, kwargs):
    with torch.no_grad():
        return list(output_tensors(model(*args, **kwargs)))


def without(model, group, node):
    """Return a copy in which no weight reads the node."""
    changed = copy.deepcopy(model)
    tensors = {**dict(changed.named_parameters()), **dict(changed.named_buffers())}
    with torch.no_grad():
        for part in group.role("consumer"):
            rows = tensors[part.parameter].movedim(part.axis, 0)
            rows[part.extent.indices()[node]] = 0
    return changed


def disagreement(model, graph, group, args, kwargs, nodes=(0, -1)):
    """Return the largest difference between a masked model and one cut off from the node."""
    worst, effect = 0.0, 0.0
    whole = outputs(model, args, kwargs)
    for node in nodes:
        node %= group.width
        keep = {group.name: [j for j in range(group.width) if j != node]}
        with mask(model, graph, keep):
            masked = outputs(model, args, kwargs)
        cut = outputs(without(model, group, node), args, kwargs)
        worst = max(worst, *(float((a - b).abs().max()) for a, b in zip(masked, cut, strict=True)))
        effect = max(
            effect, *(float((a - b).abs().max()) for a, b in zip(masked, whole, strict=True))
        )
    return worst, effect


def as_double(inputs):
    """Return inputs with their floating point tensors in float64."""
    if isinstance(inputs, torch.Tensor):
        return inputs.double() if inputs.is_floating_point() else inputs
    if isinstance(inputs, Mapping):
        return {key: as_double(value) for key, value in inputs.items()}
    return tuple(as_double(value) for value in inputs)

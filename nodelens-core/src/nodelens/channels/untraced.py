"""Groups of a model that cannot be traced: one per Linear and convolution module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nodelens.channels.groups import ChannelGraph, ChannelGroup, Extent, ParameterSlice, Site

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def plain_groups(
    model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], reason: str
) -> ChannelGraph:
    """Return one frozen group per Linear and convolution that runs in a real forward.

    Without a trace, the operators after a layer are unknown: nodes are read and masked at its
    output, before any normalisation, and cannot be removed.
    """
    fired: dict[str, int] = {}
    handles = []
    for path, module in model.named_modules():
        if isinstance(module, _LAYERS):
            handles.append(module.register_forward_hook(_note(fired, path)))
    try:
        with torch.no_grad():
            model(*args, **kwargs)
    finally:
        for handle in handles:
            handle.remove()
    groups = [
        _group(path, model.get_submodule(path), calls, reason) for path, calls in fired.items()
    ]
    return ChannelGraph(tuple(groups), traced=False, note=reason, calls=fired)


def _note(fired: dict[str, int], path: str) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        fired[path] = fired.get(path, 0) + 1

    return hook


def _group(path: str, module: nn.Module, calls: int, reason: str) -> ChannelGroup:
    linear = isinstance(module, nn.Linear)
    weight = module.weight
    assert isinstance(weight, Tensor)
    extent = Extent(weight.shape[0])
    axis = -1 if linear else -(weight.ndim - 1)
    slices = [ParameterSlice(f"{path}.weight", 0, "producer", extent)]
    if isinstance(module.bias, Tensor):
        slices.append(ParameterSlice(f"{path}.bias", 0, "carrier", extent))
    sites = tuple(
        Site(path, "output", point, axis, extent, call=call, value=call, overwritten=True)
        for point in ("activation", "preactivation")
        for call in range(calls)
    )
    kind = "neurons" if linear else "channels"
    name = f"{path or 'model'}:{kind}"
    return ChannelGroup(name, kind, weight.shape[0], tuple(slices), sites, frozen=reason)

"""Nodes replaced at every consumer's input while the model runs."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from attrs import frozen
from torch import Tensor, nn

from nodelens.channels.groups import ChannelGraph, ChannelGroup, Site
from nodelens.errors import ModelError

Replacement = Literal["zero", "mean"]


@frozen(eq=False)
class _Patch:
    """What is put at one site: `fill`, ``(k,)``, at the `dropped` indices of the site's axis."""

    site: Site
    dropped: Tensor
    fill: Tensor

    def apply(self, tensor: Tensor) -> Tensor:
        """Return a copy of `tensor` with the removed nodes replaced."""
        changed = tensor.clone()
        nodes_last = changed.movedim(self.site.axis, -1)
        nodes_last[..., self.dropped.to(tensor.device)] = self.fill.to(tensor.device, tensor.dtype)
        return changed


@contextmanager
def mask(
    model: nn.Module,
    graph: ChannelGraph,
    keep: Mapping[str, Sequence[int] | Tensor],
    replace: Replacement = "zero",
    means: Mapping[str, Tensor] | None = None,
) -> Iterator[None]:
    """Let every consumer read zeros, or means, in place of the nodes that are not in `keep`.

    `keep` maps group names to indices or to a bool tensor ``(nodes,)``; `means` maps them to
    ``(nodes,)`` and is needed for ``mean``. Acts at the consumers' inputs, after normalisation and
    nonlinearity. Nothing of the model is changed; everything is undone on exit, also on errors.
    Raises `ModelError` for groups that cannot be masked or indices out of range.
    """
    patches = [
        patch
        for name, kept in keep.items()
        for patch in _patches(graph[name], kept, replace, means or {})
    ]
    handles = _attach(model, patches)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def kept_nodes(group: ChannelGroup, kept: Sequence[int] | Tensor) -> Tensor:
    """Return `kept` as ``(nodes,)`` of bool; raises `ModelError` where it does not fit."""
    chosen = torch.as_tensor(kept)
    if chosen.dtype == torch.bool:
        if chosen.shape != (group.width,):
            raise ModelError(f"{group.name}: a mask of {len(chosen)} for {group.width} nodes")
        return chosen.cpu()
    if chosen.numel() and not (int(chosen.min()) >= 0 and int(chosen.max()) < group.width):
        raise ModelError(f"{group.name}: nodes run from 0 to {group.width - 1}, got {kept}")
    flags = torch.zeros(group.width, dtype=torch.bool)
    flags[chosen.long()] = True
    return flags


def _patches(
    group: ChannelGroup,
    kept: Sequence[int] | Tensor,
    replace: Replacement,
    means: Mapping[str, Tensor],
) -> Iterator[_Patch]:
    flags = kept_nodes(group, kept)
    sites = [site for site in group.sites if site.tap == "activation"]
    if not sites:
        raise ModelError(f"{group.name} cannot be masked: {group.frozen or 'no module reads it'}")
    if replace == "mean" and group.name not in means:
        raise ModelError(f"{group.name}: replacing by the mean needs the means of its nodes")
    fill = means[group.name] if replace == "mean" else torch.zeros(group.width)
    for site in sites:
        indices = torch.tensor(site.extent.indices())
        dropped = indices[~flags]
        filled = fill.cpu()[~flags].unsqueeze(-1).expand(dropped.shape)
        yield _Patch(site, dropped.flatten(), filled.flatten())


def _attach(model: nn.Module, patches: Sequence[_Patch]) -> list[Any]:
    places: dict[tuple[str, str], list[_Patch]] = defaultdict(list)
    for patch in patches:
        places[patch.site.module, patch.site.end].append(patch)
    calls: Counter[str] = Counter()
    handles: list[Any] = [model.register_forward_pre_hook(_reset(calls))]
    for path in dict.fromkeys(path for path, _ in places):
        module = model.get_submodule(path)
        before = _before(path, places[path, "input"], calls)
        handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
        handles.append(module.register_forward_hook(_after(path, places[path, "output"], calls)))
    return handles


def _reset(calls: Counter[str]) -> Any:  # noqa: ANN401 - a torch hook
    def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
        calls.clear()

    return hook


def _before(path: str, patches: list[_Patch], calls: Counter[str]) -> Any:  # noqa: ANN401
    def hook(
        module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        changed, named = list(args), dict(kwargs)
        for patch in patches:
            where = patch.site.argument
            if patch.site.call == calls[path]:
                if isinstance(where, int):
                    changed[where] = _apply(patch, changed[where])
                else:
                    named[where] = _apply(patch, named[where])
        return tuple(changed), named

    return hook


def _after(path: str, patches: list[_Patch], calls: Counter[str]) -> Any:  # noqa: ANN401
    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:  # noqa: ANN401
        for patch in patches:
            if patch.site.call == calls[path]:
                output = _apply(patch, output)
        calls[path] += 1
        return output

    return hook


def _apply(patch: _Patch, tensor: Any) -> Tensor:  # noqa: ANN401 - whatever the module is given
    if not isinstance(tensor, Tensor):
        raise ModelError(f"{patch.site.name}: expected a tensor, got {type(tensor).__name__}")
    return patch.apply(tensor)

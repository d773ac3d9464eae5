"""Nodes replaced at every consumer's input while the model runs."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from attrs import define, field, frozen
from torch import Tensor, nn

from nodelens.channels.groups import ChannelGraph, ChannelGroup, Site
from nodelens.errors import ModelError
from nodelens.seeding import generator

Replacement = Literal["zero", "mean", "resample"]


@define(eq=False)
class _Donors:
    """Which row each row takes its removed nodes from: one random order per forward and size."""

    generator: torch.Generator
    orders: dict[int, Tensor] = field(factory=dict)

    def order(self, rows: int) -> Tensor:
        """Return a random order of `rows`, the same at every site of one forward."""
        if rows not in self.orders:
            self.orders[rows] = torch.randperm(rows, generator=self.generator)
        return self.orders[rows]


@frozen(eq=False)
class _Patch:
    """What is put at one site at the `dropped` indices of its axis: `fill`, or rows of `donors`."""

    site: Site
    dropped: Tensor
    fill: Tensor
    donors: _Donors | None = None

    def apply(self, tensor: Tensor) -> Tensor:
        """Return a copy of `tensor` with the removed nodes replaced."""
        changed, dropped = tensor.clone(), self.dropped.to(tensor.device)
        nodes_last = changed.movedim(self.site.axis, -1)
        if self.donors is None:
            nodes_last[..., dropped] = self.fill.to(tensor.device, tensor.dtype)
        else:
            order = self.donors.order(len(tensor)).to(tensor.device)
            nodes_last[..., dropped] = tensor[order].movedim(self.site.axis, -1)[..., dropped]
        return changed


@contextmanager
def mask(
    model: nn.Module,
    graph: ChannelGraph,
    keep: Mapping[str, Sequence[int] | Tensor],
    replace: Replacement = "zero",
    means: Mapping[str, Tensor] | None = None,
    seed: int = 0,
) -> Iterator[None]:
    """Let every consumer read something else in place of the nodes that are not in `keep`.

    `keep` maps group names to indices or to a bool tensor ``(nodes,)``. ``zero`` puts zeros;
    ``mean`` puts `means`, ``(nodes,)`` by group; ``resample`` puts the values of the same nodes in
    another row of the batch, in a random order by `seed` that is the same at every site of a
    forward, so that the nodes keep their distribution and lose their relation to the row.

    Acts at the consumers' inputs, after normalisation and nonlinearity. Nothing of the model is
    changed; everything is undone on exit, also on errors.
    Raises `ModelError` for groups that cannot be masked or indices out of range.
    """
    donors = _Donors(generator(seed, "mask", "resample")) if replace == "resample" else None
    patches = [
        patch
        for name, kept in keep.items()
        for patch in _patches(graph[name], kept, replace, means or {}, donors)
    ]
    handles = _attach(model, patches, donors)
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
    donors: _Donors | None,
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
        yield _Patch(site, dropped.flatten(), filled.flatten(), donors)


def _attach(model: nn.Module, patches: Sequence[_Patch], donors: _Donors | None) -> list[Any]:
    places: dict[tuple[str, str], list[_Patch]] = defaultdict(list)
    for patch in patches:
        places[patch.site.module, patch.site.end].append(patch)
    calls: Counter[str] = Counter()
    handles: list[Any] = [model.register_forward_pre_hook(_reset(calls, donors))]
    for path in dict.fromkeys(path for path, _ in places):
        module = model.get_submodule(path)
        before = _before(path, places[path, "input"], calls)
        handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
        handles.append(module.register_forward_hook(_after(path, places[path, "output"], calls)))
    return handles


def _reset(calls: Counter[str], donors: _Donors | None) -> Any:  # noqa: ANN401 - a torch hook
    def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
        calls.clear()
        if donors is not None:
            donors.orders.clear()

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

"""Gradients at the inputs of consumers, without the paths that carry a stream past them.

A residual stream is read by a layer and carried on. The gradient at the stream holds both paths. A
gate in front of the layer, which removal closes, has the gradient of the layer's path alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from attrs import define, frozen
from torch import Tensor, nn

from nodelens.capture.hooks.batch_forward import version_of
from nodelens.capture.plan.capture_plan import PlanEntry

if TYPE_CHECKING:
    from nodelens.capture.hooks.hook_points import HookPoint
    from nodelens.channels.groups import Site


@frozen
class Argument:
    """An argument by which a module reads nodes.

    `consumers` counts the modules that read the tensor, `overwritten` says that the model changes
    the tensor in place later.
    """

    consumers: int
    overwritten: bool


@define(eq=False)
class Alias:
    """The tensor that consumers read in place of `tensor`, and the number of reads left."""

    tensor: Tensor
    own: Tensor
    left: int


Arguments = dict[int | str, Argument]
Aliases = dict[tuple[int, int], Alias]
"""Aliases by the identity of a tensor and the number of its in-place writes."""


@contextmanager
def own_edges(model: nn.Module, points: Sequence[HookPoint]) -> Iterator[None]:
    """Let consumers whose gradients are read use one alias of each tensor, inside a context.

    Consumers of one tensor share the alias, which has the gradient of all of them. Tensors that the
    model changes in place later are copied, since a view would change as well.
    """
    places = _consumers(points)
    aliases: Aliases = {}

    def forget(*_: Any) -> None:
        aliases.clear()

    with ExitStack() as stack:
        if places:
            stack.callback(model.register_forward_pre_hook(forget, prepend=True).remove)
            stack.callback(model.register_forward_hook(forget, always_call=True).remove)
        for path, arguments in places.items():
            hook = _aliasing(arguments, aliases)
            module = model.get_submodule(path)
            stack.callback(module.register_forward_pre_hook(hook, with_kwargs=True).remove)
        yield


def _consumers(points: Sequence[HookPoint]) -> dict[str, Arguments]:
    """Return the arguments by which modules read the nodes of graded hook points, by module."""
    found: dict[str, Arguments] = {}
    for point in points:
        if not point.graded or not _is_read(point.site) or not isinstance(point.entry, PlanEntry):
            continue
        sites = [s for s in point.entry.group.sites if _is_read(s) and s.value == point.site.value]
        several = len({(site.module, site.argument, site.call) for site in sites})
        for site in sites:
            known = found.setdefault(site.module, {}).get(site.argument, Argument(0, False))
            found[site.module][site.argument] = Argument(
                max(known.consumers, several), known.overwritten or site.overwritten
            )
    return found


def _is_read(site: Site) -> bool:
    """Return whether a site is the input of a module that reads nodes."""
    return site.point == "activation" and site.end == "input"


def _aliasing(arguments: Mapping[int | str, Argument], aliases: Aliases) -> Any:
    """Return a hook that puts the alias of a tensor in its place.

    A tensor without a gradient, made of constants or detached, begins one: the loss still has a
    derivative by what the consumers read.
    """

    def alias(key: int | str, value: Any) -> Any:
        if key not in arguments or not isinstance(value, Tensor) or not can_begin(value):
            return value
        given, known = arguments[key], (id(value), version_of(value))
        if known not in aliases:
            aliases[known] = Alias(value, _own(value, given), given.consumers)
        return _used(aliases, known)

    def hook(
        _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        given = tuple(alias(number, value) for number, value in enumerate(args))
        return given, {key: alias(key, value) for key, value in kwargs.items()}

    return hook


def can_begin(value: Tensor) -> bool:
    """Return whether a tensor has a gradient, or one can begin at the tensor."""
    return value.requires_grad or (value.is_floating_point() and torch.is_grad_enabled())


def begun(value: Tensor) -> Tensor:
    """Return a copy at which gradients begin; it is no leaf, so that a model may change it."""
    plain = value.clone() if value.is_inference() else value
    return plain.detach().requires_grad_().clone()


def _own(value: Tensor, given: Argument) -> Tensor:
    if not value.requires_grad:
        return begun(value)
    return value.clone() if given.overwritten else value.view_as(value)


def _used(aliases: Aliases, known: tuple[int, int]) -> Tensor:
    """Return an alias, released after its last consumer so that the memory can be freed."""
    found = aliases[known]
    found.left -= 1
    if not found.left:
        del aliases[known]
    return found.own

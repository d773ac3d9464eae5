"""Hooks that read the tensors of hook points while a model runs."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from nodelens.capture.hooks.hook_points import HookPoint
from nodelens.errors import ModelError
from nodelens.masks.operand_reading import operand_reader

if TYPE_CHECKING:
    from nodelens.channels.groups import Site
    from nodelens.interfaces.operator import Operator

Read = Callable[[HookPoint, str, nn.Module, Tensor], None]
"""Takes a hook point, the path of its module, the module, and the tensor."""


@contextmanager
def attached(
    model: nn.Module,
    points: Sequence[HookPoint],
    read: Read,
    called: Callable[[str], None],
    operators: Sequence[Operator],
) -> Iterator[None]:
    """Call `read` for every tensor of `points`, and `called` when a module of these has returned.

    `operators` are those that the core does not know. Raises `ModelError` for models that run
    without calling hooks.
    """
    check_hookable(model)
    with ExitStack() as stack:
        for path, mine in _by_module(points).items():
            module = model.get_submodule(path)
            if any(point.site.end == "input" for point in mine):
                before = _before(path, module, mine, read)
                stack.callback(module.register_forward_pre_hook(before, with_kwargs=True).remove)
            after = _after(path, module, mine, read, called)
            stack.callback(module.register_forward_hook(after).remove)
        operands = _by_operand(points)
        if operands:
            met = _at(model, operands, read)
            stack.enter_context(operand_reader(model, list(operands), met, operators))
        yield


def _by_module(points: Sequence[HookPoint]) -> dict[str, list[HookPoint]]:
    found: dict[str, list[HookPoint]] = defaultdict(list)
    for point in points:
        if point.site.end != "operand":
            found[point.site.module].append(point)
    return found


def _by_operand(points: Sequence[HookPoint]) -> dict[Site, list[HookPoint]]:
    found: dict[Site, list[HookPoint]] = defaultdict(list)
    for point in points:
        if point.site.end == "operand":
            found[point.site].append(point)
    return found


def _at(
    model: nn.Module, operands: Mapping[Site, Sequence[HookPoint]], read: Read
) -> Callable[[Site, Tensor], None]:
    def met(site: Site, tensor: Tensor) -> None:
        for point in operands[site]:
            read(point, site.module, model.get_submodule(site.module), tensor)

    return met


def _before(path: str, module: nn.Module, points: list[HookPoint], read: Read) -> Any:
    mine = [point for point in points if point.site.end == "input"]

    def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given: dict[int | str, Any] = dict(enumerate(args))
        _show(path, module, mine, given | kwargs, read)

    return hook


def _after(
    path: str, module: nn.Module, points: list[HookPoint], read: Read, called: Callable[[str], None]
) -> Any:
    mine = [point for point in points if point.site.end == "output"]

    def hook(_: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        many = isinstance(output, tuple | list)
        _show(path, module, mine, dict(enumerate(output)) if many else {0: output}, read)
        called(path)

    return hook


def _show(
    path: str, module: nn.Module, points: list[HookPoint], tensors: Mapping[Any, Any], read: Read
) -> None:
    for point in points:
        tensor = tensors.get(point.site.argument)
        if tensor is None and point.place in ("input", "weight"):
            tensor = tensors.get("input")
        if isinstance(tensor, Tensor):
            read(point, path, module, tensor)


@contextmanager
def uncompiled() -> Iterator[None]:
    """Run functions inside the model without ``torch.compile`` while the context is open.

    Functions that were compiled before the hooks would not call them, and compiling hooks fails.
    """
    if "torch._dynamo" not in sys.modules:  # nothing can have been compiled, and it loads slowly
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


def check_hookable(model: nn.Module) -> None:
    """Raise `ModelError` for compiled modules and for wrappers that run copies or pieces."""
    for path, module in model.named_modules():
        where = path or "the model"
        if hasattr(module, "_orig_mod") or module._compiled_call_impl is not None:
            raise ModelError(
                f"{where} is compiled, and hooks on compiled modules may silently do nothing; give "
                "the model as it was before torch.compile"
            )
        for kind in type(module).__mro__:
            if kind.__name__ in _WRAPPERS and kind.__module__.startswith("torch."):
                raise ModelError(
                    f"{where} is wrapped in {kind.__name__}, {_WRAPPERS[kind.__name__]}"
                )
    if any(type(parameter).__name__ == "DTensor" for parameter in model.parameters()):
        raise ModelError(
            "the parameters are sharded over processes (DTensor), so that no process holds whole "
            "weights; give a model whose parameters are whole, on one device or several"
        )


_WRAPPERS: Mapping[str, str] = {
    "DataParallel": "which runs copies without hooks; give its .module",
    "DistributedDataParallel": "which is for training; give its .module, on every worker",
    "FullyShardedDataParallel": "which holds pieces of the weights; give the model unwrapped",
}
"""Wrappers of a model, and why nothing can be read through them."""

"""Hooks that turn the product mode on while a module multiplies with its own weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from attrs import define, field
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from nodelens.channels.passes import plain_kernels
from nodelens.channels.rules.table import operator_table
from nodelens.errors import ModelError
from nodelens.interfaces.operator import Operator, Operators
from nodelens.masks.operand_products import ProductMode, Watch, known_in


@define(eq=False)
class _Running:
    """The modules that are running, and the product mode of watched ones."""

    model: nn.Module
    watches: Sequence[Watch]
    operators: Operators
    changes: bool
    stack: list[str] = field(factory=list)
    on: bool = False
    active: ExitStack = field(factory=ExitStack)

    def enter(self, path: str, module: nn.Module, given: Any) -> None:
        self.stack.append(path)
        mine = [watch for watch in self.watches if watch.site.module == path]
        if not mine:
            return
        if self.changes and torch.is_grad_enabled() and _wants_gradient(module, given):
            raise ModelError(
                f"{mine[0].site.name}: what a module multiplies with its own weights can be masked "
                "without gradients only; run the model under torch.no_grad()"
            )
        if not self.on:
            self.on = True
            self.active.enter_context(plain_kernels())
            mode = ProductMode(known_in(self.model, self.watches, self.operators), self.stack)
            self.active.enter_context(mode)

    def leave(self, path: str) -> None:
        while path in self.stack and self.stack.pop() != path:
            pass
        watched = {watch.site.module for watch in self.watches}
        if self.on and watched.isdisjoint(self.stack):
            self.on = False
            self.active.close()


def _wants_gradient(module: nn.Module, given: Any) -> bool:
    tensors = (leaf for leaf in tree_leaves(given) if isinstance(leaf, Tensor))
    return any(each.requires_grad for each in (*module.parameters(), *tensors))


@contextmanager
def watching_products(
    model: nn.Module, watches: Sequence[Watch], operators: Sequence[Operator], changes: bool = True
) -> Iterator[None]:
    """Let `watches` act at their products while the context is open.

    `operators` are those that the core does not know, see `ChannelGraph.operators`.
    With `changes` operands may be replaced, below autograd: raises `ModelError` where a gradient
    would have to pass. Fused attention and recurrent kernels, which show no products, are off in
    the watched modules.
    """
    running = _Running(model, watches, operator_table(operators), changes)
    handles: list[Any] = []
    for path, module in model.named_modules() if watches else ():
        if not isinstance(module, torch.jit.ScriptModule):
            handles.append(
                module.register_forward_pre_hook(_before(running, path), with_kwargs=True)
            )
            # In front of the hooks that are there: nested contexts leave in the reverse order.
            handles.append(
                module.register_forward_hook(_after(running, path), always_call=True, prepend=True)
            )
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(fast and not watches)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for handle in handles:
            handle.remove()


def _before(running: _Running, path: str) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        running.enter(path, module, (args, kwargs))

    return hook


def _after(running: _Running, path: str) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        running.leave(path)

    return hook

"""Hooks that record the tensors that every module reads and returns in a traced forward."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from nodelens.channels.trace import Port, Trace


@contextmanager
def hooks_on_modules(trace: Trace, model: nn.Module) -> Iterator[None]:
    """Record the tensors that every module reads and returns while the context is open.

    Scripted modules take no hooks: their operators belong to the module that calls them.
    """
    handles = []
    for path, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            continue
        handles.append(module.register_forward_pre_hook(_entered(trace, path), with_kwargs=True))
        handles.append(module.register_forward_hook(_left(trace, path), always_call=False))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _entered(trace: Trace, path: str) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        call = trace.calls[path]
        trace.stack.append(path)
        named: dict[int | str, Any] = {**dict(enumerate(args)), **kwargs}  # type: ignore[dict-item]
        _enter_as_data(trace, module, named.values())
        trace.inputs.extend(_ports(trace, path, call, named))

    return hook


def _enter_as_data(trace: Trace, module: nn.Module, values: Iterable[Any]) -> None:
    """Treat parameters that a layer reads as inputs (learned queries) as data."""
    if not any(parameter.ndim > 1 for parameter in module.parameters(recurse=False)):
        return
    for value in values:
        if _plain(value) and value.is_floating_point() and trace.of(value).parameters:
            trace.of(value).data = True


def _left(trace: Trace, path: str) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        named = dict(enumerate(output)) if isinstance(output, tuple | list) else {0: output}
        trace.outputs.extend(_ports(trace, path, trace.calls[path], named))
        trace.calls[path] += 1
        trace.called[path] += trace.evaluated
        trace.stack.pop()

    return hook


def _ports(trace: Trace, path: str, call: int, named: Mapping[Any, Any]) -> list[Port]:
    if not trace.evaluated:
        return []
    return [
        Port(path, call, key, trace.axes(value), trace.value(value), trace.storage(value), now)
        for now in [trace.tick()]
        for key, value in named.items()
        if _plain(value) and trace.is_data(value)
    ]


def _plain(value: Any) -> bool:
    """Whether a value is a plain tensor, and no wrapper that stands for a whole one in `vmap`."""
    return isinstance(value, Tensor) and not torch._C._functorch.is_functorch_wrapped_tensor(value)

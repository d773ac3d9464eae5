"""One traced forward pass: on fake tensors, or on real ones where control flow needs data.

Fake tensors have shapes and no data: nothing is computed and no weight is moved. Models whose
control flow depends on data (routing to experts) are run on the real example instead. In both
cases the model's own parameters, buffers and attributes are as before afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from attrs import frozen
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from torch.utils._pytree import tree_leaves, tree_map_only

from nodelens.channels.axis_mode import AxisMode
from nodelens.channels.held_state import containers
from nodelens.channels.module_hooks import hooks_on_modules
from nodelens.channels.outputs import output_tensors
from nodelens.channels.trace import Root, Trace, Traced
from nodelens.interfaces.operator import Operators


@frozen(eq=False)
class Pass:
    """The model, the inputs and the operator rows of one traced forward pass."""

    model: nn.Module
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    operators: Operators


def fake_pass(work: Pass, trace: Trace) -> None:
    """Trace one forward on fake tensors.

    Raises what the model raises where its Python cannot run without data.
    """
    with FakeTensorMode(allow_non_fake_inputs=True) as mode, torch.no_grad():
        device = _device(work.model)
        tensors = _parameters(work.model, trace, lambda tensor: _fake(mode, tensor, device))
        inputs = tree_map_only(
            Tensor, lambda tensor: _fake(mode, tensor, device), (work.args, dict(work.kwargs))
        )
        _run(work, trace, tensors, inputs, fake=True)


def real_pass(work: Pass, trace: Trace) -> None:
    """Trace one forward on the real example, with copies of the buffers."""
    with torch.no_grad(), torch.random.fork_rng():
        tensors = _parameters(work.model, trace, _alias)
        inputs = tree_map_only(
            Tensor, lambda tensor: tensor.detach().clone(), (work.args, dict(work.kwargs))
        )
        _run(work, trace, tensors, inputs, fake=False)


def resized_pass(work: Pass, less: Mapping[str, Mapping[int, int]]) -> None:
    """Run one forward on fake tensors, with parameters that are shorter along some axes.

    Nothing is traced. Raises what the model raises where the sizes do not fit.
    """
    with FakeTensorMode(allow_non_fake_inputs=True) as mode, torch.no_grad():
        device = _device(work.model)
        copies: dict[object, Tensor] = {}
        for name, tensor in _named(work.model):
            fake = _fake(mode, tensor, device)
            for axis, gone in less.get(name, {}).items():
                fake = fake.narrow(axis, 0, fake.shape[axis] - gone).clone()
            if name in less or _identity(tensor) not in copies:
                copies[_identity(tensor)] = fake
        tensors = {name: copies[_identity(tensor)] for name, tensor in _named(work.model)}
        inputs = tree_map_only(
            Tensor, lambda tensor: _fake(mode, tensor, device), (work.args, dict(work.kwargs))
        )
        with restored(work.model), plain_kernels():
            functional_call(work.model, tensors, *inputs)


def _run(
    work: Pass,
    trace: Trace,
    tensors: dict[str, Tensor],
    inputs: Any,
    fake: bool,
) -> None:
    for tensor in tree_leaves(inputs):
        if isinstance(tensor, Tensor):
            axes = trace.fixed(tensor.shape, "model input")
            trace.tensors[tensor] = Traced(axes, data=True, value=trace.tick())
            trace.note_rows(axes)
    seen = AxisMode(trace, work.operators, fake)
    with restored(work.model), plain_kernels(), seen, hooks_on_modules(trace, work.model):
        output = functional_call(work.model, tensors, *inputs)
    for tensor in output_tensors(output):
        for axis in trace.axes(tensor):
            trace.solver.freeze(axis, "model output")


def _device(model: nn.Module) -> torch.device | None:
    """Return the device of the fake tensors; None keeps each on its own, where there are several.

    Models on one device are traced as if on the CPU, where the operators are the same for
    all of them: the meta device and accelerators have others, for attention and recurrent layers.
    """
    devices = {tensor.device for tensor in model.parameters()}
    return None if len(devices - {torch.device("meta")}) > 1 else torch.device("cpu")


def _fake(mode: FakeTensorMode, tensor: Tensor, device: torch.device | None) -> Tensor:
    if tensor.layout != torch.strided:
        return mode.from_tensor(tensor.detach())
    home, size, stride = device or tensor.device, tensor.size(), tensor.stride()
    return torch.empty_strided(size, stride, dtype=tensor.dtype, device=home)


def _alias(tensor: Tensor) -> Tensor:
    return tensor.detach() if isinstance(tensor, nn.Parameter) else tensor.detach().clone()


def _parameters(model: nn.Module, trace: Trace, copy: Any) -> dict[str, Tensor]:
    """Return a stand-in for every parameter and buffer; tied ones share a stand-in and its axes.

    In a second pass with the same trace, the parameters have the axes of the first.
    """
    trace.buffers.update(dict(model.named_buffers(remove_duplicate=False)))
    copies: dict[object, tuple[Tensor, str]] = {}
    for name, tensor in _named(model):
        key = _identity(tensor)
        if key not in copies:
            copies[key] = (copy(tensor), name)
    for stand_in, name in copies.values():
        known = trace.parameters.get(name)
        axes = trace.free(stand_in.shape) if known is None else known.axes
        only, time = frozenset([name]), trace.tick()
        root = Root(trace.recording.name(stand_in, name), axes, time, name)
        known = Traced(axes, parameters=only, value=time, moved=only, root=root)
        trace.tensors[stand_in] = trace.parameters[name] = known
    return {name: copies[_identity(tensor)][0] for name, tensor in _named(model)}


def _named(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters(remove_duplicate=False)
    yield from model.named_buffers(remove_duplicate=False)


def _identity(tensor: Tensor) -> object:
    """Return a key that is equal for all tensors in one and the same memory."""
    place = (tensor.untyped_storage()._cdata, tensor.storage_offset())
    return (*place, tuple(tensor.shape), tensor.stride())


@contextmanager
def restored(model: nn.Module) -> Iterator[None]:
    """Restore on exit what a forward changes in modules: caches, recomputed weights, modes.

    Containers that modules hold, and the attributes of objects in them, are restored too.
    """
    before = [(each, each.copy()) for each in containers(model)]
    try:
        yield
    finally:
        for each, saved in before:
            _refill(each, saved)


def _refill(value: Any, inside: Any) -> None:
    if isinstance(value, list):
        value[:] = inside
    else:
        value.clear()
        value.update(inside)


@contextmanager
def plain_kernels() -> Iterator[None]:
    """Turn off fused kernels of attention and recurrent layers, which no rule describes."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    # `torch.backends.mkldnn.flags` also sets TF32, which warns on every CPU.
    onednn = torch._C._get_mkldnn_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    torch._C._set_mkldnn_enabled(False)
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(onednn)
        torch.backends.mha.set_fastpath_enabled(enabled)

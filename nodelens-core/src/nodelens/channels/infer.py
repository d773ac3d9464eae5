"""Channel inference: from a model and example inputs to its channel groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.func import functional_call
from torch.utils._pytree import tree_leaves, tree_map_only

from nodelens.channels import arithmetic, layers, structure
from nodelens.channels.assemble import assemble
from nodelens.channels.groups import ChannelGraph
from nodelens.channels.plain import plain_groups
from nodelens.channels.trace import AxisMode, Trace, Traced, watching

RULES = {**structure.RULES, **arithmetic.RULES, **layers.RULES}

# What a model's own Python raises when it cannot run without data, or on fake tensors.
_UNTRACEABLE = (RuntimeError, NotImplementedError, TypeError, ValueError, AttributeError, KeyError)


def infer(model: nn.Module, *args: Any, **kwargs: Any) -> ChannelGraph:  # noqa: ANN401 - model inputs
    """Return the channel groups of `model`, found by one forward on fake copies of the inputs.

    Nothing is computed and the model is not changed. A model that cannot be traced (its control
    flow depends on data) gets one frozen group per Linear and convolution, so that it can still be
    scored.
    """
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        trace = _traced(model, args, kwargs)
    except _UNTRACEABLE as error:
        reason = f"the model could not be traced ({type(error).__name__}: {_first_line(error)})"
        return plain_groups(model, args, kwargs, reason)
    finally:
        for module, mode in training.items():
            module.training = mode
    return assemble(model, trace)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0][:160]


def _traced(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Trace:
    trace = Trace()
    with FakeTensorMode(allow_non_fake_inputs=True) as fake, torch.no_grad():
        fakes = _fake_parameters(model, fake, trace)
        inputs = tree_map_only(
            Tensor, lambda tensor: fake.from_tensor(tensor), (args, dict(kwargs))
        )
        for tensor in tree_leaves(inputs):
            if isinstance(tensor, Tensor):
                axes = trace.fixed(tensor.shape, "model input")
                trace.tensors[tensor] = Traced(axes, data=True, value=trace.tick())
        with AxisMode(trace, RULES), watching(trace, model):
            output = functional_call(model, fakes, *inputs)
    _freeze_output(trace, output)
    return trace


def _fake_parameters(model: nn.Module, fake: FakeTensorMode, trace: Trace) -> dict[str, Tensor]:
    """Return a fake copy of every parameter and buffer; tied ones share copy and axes."""
    copies: dict[int, tuple[Tensor, str]] = {}
    fakes: dict[str, Tensor] = {}
    named = [
        *model.named_parameters(remove_duplicate=False),
        *model.named_buffers(remove_duplicate=False),
    ]
    for name, tensor in named:
        if id(tensor) not in copies:
            copy = fake.from_tensor(tensor.detach())
            copies[id(tensor)] = (copy, name)
            known = Traced(
                trace.free(tensor.shape), parameters=frozenset([name]), value=trace.tick()
            )
            trace.tensors[copy] = trace.parameters[name] = known
        fakes[name] = copies[id(tensor)][0]
    return fakes


def _freeze_output(trace: Trace, output: Any) -> None:  # noqa: ANN401 - whatever the model returns
    leaves = output.values() if isinstance(output, Mapping) else tree_leaves(output)
    for tensor in leaves:
        if isinstance(tensor, FakeTensor):
            for axis in trace.axes(tensor):
                trace.solver.freeze(axis, "model output")

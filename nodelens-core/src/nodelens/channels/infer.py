"""Channel inference: from a model and example inputs to its channel groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from nodelens.channels.assemble import assemble
from nodelens.channels.groups import ChannelGraph
from nodelens.channels.passes import Pass, fake_pass, real_pass, restored
from nodelens.channels.plain import plain_groups
from nodelens.channels.rules.operation import Rule
from nodelens.channels.rules.table import RULES
from nodelens.channels.trace import Trace
from nodelens.channels.unreached import freeze_unreached, unreached

# What a model's own Python raises when it cannot run without data, or on fake tensors.
_UNTRACEABLE = (
    RuntimeError,
    NotImplementedError,
    TypeError,
    ValueError,
    AttributeError,
    LookupError,
    AssertionError,
)


def infer(
    model: nn.Module,
    *args: Any,  # noqa: ANN401 - what the model reads
    rules: Mapping[str, Rule] | None = None,
    **kwargs: Any,  # noqa: ANN401
) -> ChannelGraph:
    """Return the channel groups of `model`, found by one forward on fake copies of the inputs.

    Nothing is computed and the model is not changed; its weights may be on the meta device. A model
    whose control flow depends on data is run on the inputs themselves instead. One that cannot be
    traced at all gets one frozen group per Linear and convolution, so that it can still be scored.
    `rules` adds rules for operators, by name (``my_op`` or ``namespace::my_op``), or replaces them.
    """
    work = Pass(model, args, kwargs, {**RULES, **(rules or {})})
    with restored(model):
        model.eval()
        try:
            trace = _trace(work)
        except _UNTRACEABLE as error:
            reason = f"the model could not be traced ({type(error).__name__}: {_first_line(error)})"
            return plain_groups(model, args, kwargs, reason)
    return assemble(model, trace)


def _trace(work: Pass) -> Trace:
    """Trace the model on fake tensors, or on the example itself where these do not do."""
    trace = Trace()
    try:
        fake_pass(work, trace)
    except _UNTRACEABLE as error:
        return _real_trace(work, error)
    if unreached(work.model, trace):
        _trace_training(work, trace)
    return trace


def _real_trace(work: Pass, error: Exception) -> Trace:
    if any(tensor.is_meta for tensor in work.model.parameters()):
        raise error
    trace = Trace()
    try:
        real_pass(work, trace)
    except _UNTRACEABLE as second:
        raise error from second
    freeze_unreached(work.model, trace, "was not reached by the example inputs")
    return trace


def _trace_training(work: Pass, trace: Trace) -> None:
    """Trace the model in training too: some parameters may be used there only."""
    trace.begin_training()
    work.model.train()
    try:
        fake_pass(work, trace)
    except _UNTRACEABLE as error:
        reason = f"may be used in training, which could not be traced ({_first_line(error)})"
        freeze_unreached(work.model, trace, reason)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0][:160]

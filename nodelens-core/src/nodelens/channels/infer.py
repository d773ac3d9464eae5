"""Channel inference: from a model and example inputs to its channel groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from attrs import evolve
from torch import nn

from nodelens.channels.assemble import assemble
from nodelens.channels.head_sizes import freeze_shared_sizes
from nodelens.channels.passes import Pass, fake_pass, real_pass, restored
from nodelens.channels.rules.given_rows import given_rows
from nodelens.channels.rules.table import operator_table
from nodelens.channels.trace import Trace
from nodelens.channels.unreached import freeze_unreached
from nodelens.channels.untraced import plain_groups
from nodelens.errors import ModelError

if TYPE_CHECKING:
    from nodelens.channels.groups import ChannelGraph
    from nodelens.interfaces.operator import Operator

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
    *args: Any,
    operators: Sequence[Operator] = (),
    **kwargs: Any,
) -> ChannelGraph:
    """Return the channel groups of `model`, found by a forward on fake copies of the inputs.

    Nothing is computed and the model is not changed; its weights may be on the meta device. A model
    whose control flow depends on data is run on the inputs themselves instead. Sites are those of
    evaluation; a second forward, in training, adds what is mixed only there (if this fails,
    `note` says so). A model that cannot be traced at all gets one frozen group per Linear and
    convolution, so that it can still be scored.
    `operators` adds rows for operators that the core does not know, or replaces the core's; the
    graph keeps them, so that masks, removal and costs know these operators too.
    """
    if not isinstance(model, nn.Module):
        raise ModelError(f"the model must be a torch.nn.Module, got {type(model).__name__}")
    work = Pass(model, args, kwargs, operator_table(given_rows(operators)))
    with restored(model):
        model.eval()
        try:
            trace = _trace(work)
        except _UNTRACEABLE as error:
            reason = f"the model could not be traced ({type(error).__name__}: {_first_line(error)})"
            return _plain(work, reason)
        note = _trace_training(work, trace)
        found = assemble(model, trace, note)
        model.eval()
        groups = freeze_shared_sizes(work, trace, found.groups, _UNTRACEABLE)
        return evolve(found, groups=tuple(groups), operators=tuple(operators))


def _plain(work: Pass, reason: str) -> ChannelGraph:
    """Return the groups of single layers; raises `ModelError` where the model does not run."""
    try:
        return plain_groups(work.model, work.args, work.kwargs, reason)
    except _UNTRACEABLE as error:
        raise ModelError(
            f"the model does not run on the example inputs: {type(error).__name__}: "
            f"{_first_line(error)}; give the inputs of its forward"
        ) from error


def _trace(work: Pass) -> Trace:
    """Trace the model in evaluation."""
    trace = Trace()
    try:
        fake_pass(work, trace)
    except _UNTRACEABLE as error:
        trace = Trace()
        _real_pass(work, trace, error)
    return trace


def _real_pass(work: Pass, trace: Trace, error: Exception) -> None:
    """Trace the model on the example itself; raise `error` where that fails as well."""
    if any(tensor.is_meta for tensor in work.model.parameters()):
        raise error
    try:
        real_pass(work, trace)
    except _UNTRACEABLE as second:
        raise error from second
    trace.real = True


def _trace_training(work: Pass, trace: Trace) -> str:
    """Trace the model in training too, where other nodes may be mixed; return a note on failure.

    The results of evaluation are kept. Parameters that neither pass has reached may be used on
    another path than that of the example: the nodes that they may read are frozen.
    """
    reason, note = "was not reached by the example inputs", ""
    trace.begin_training()
    work.model.train()
    try:
        _pass(work, trace)
    except _UNTRACEABLE as error:
        reason = f"may be used in training, which could not be traced ({_first_line(error)})"
        note = (
            f"training could not be traced ({type(error).__name__}: {_first_line(error)}): "
            "what the model does only there is not known"
        )
    if note or trace.real:
        freeze_unreached(work.model, trace, reason)
    return note


def _pass(work: Pass, trace: Trace) -> None:
    """Trace one more forward, adding to the axes that are known."""
    if trace.real:
        real_pass(work, trace)
        return
    try:
        fake_pass(work, trace)
    except _UNTRACEABLE as error:
        _real_pass(work, trace, error)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0][:160]

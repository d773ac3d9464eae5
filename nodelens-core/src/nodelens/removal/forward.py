"""Forward passes that leave the model unchanged, with the outputs of every module."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from attrs import define, field, frozen
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from nodelens.channels.held_state import held_tensors
from nodelens.channels.passes import restored
from nodelens.removal.double_precision import PRECISE, has_fractions
from nodelens.removal.error_location import place_in_code
from nodelens.removal.operator_mode import OperatorMode

if TYPE_CHECKING:
    from nodelens.interfaces.operator import Operators
    from nodelens.removal.absent_nodes import Average

# Errors that a model's own Python raises when the sizes of its tensors do not fit.
FORWARD_ERRORS = (
    RuntimeError,
    ValueError,
    TypeError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    LookupError,
)


@frozen(eq=False)
class Example:
    """The inputs and the mode of a forward; `name` describes the inputs in words.

    With `training` None, modules stay in the modes that they are in.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    training: bool | None = False
    name: str = "the example"

    def fresh(self, precise: bool) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return copies of the inputs, real and complex numbers in float64 if `precise`."""

        def copied(tensor: Tensor) -> Tensor:
            more = PRECISE.get(tensor.dtype) if precise else None
            return tensor.clone() if more is None else tensor.to(more)

        inputs: tuple[tuple[Any, ...], dict[str, Any]] = tree_map_only(
            Tensor, copied, (self.args, dict(self.kwargs))
        )
        return inputs


@frozen
class Glance:
    """A digest of one call's output: shapes, sum of absolute values, and operators before."""

    module: str
    shapes: tuple[tuple[int, ...], ...]
    sums: tuple[float, ...]
    operators: int

    def agrees(self, other: Glance, tolerance: float) -> bool:
        """Whether two calls may have returned equal tensors; other shapes are not compared."""
        if self.module != other.module:
            return False
        return self.shapes != other.shapes or all(
            a == b or abs(a - b) <= tolerance * max(abs(a), abs(b)) or (a != a and b != b)
            for a, b in zip(self.sums, other.sums, strict=True)
        )


@define(eq=False)
class Run:
    """The result of a forward: outputs, or an error with module, line and number of operators.

    `calls` is one number for all operators up to there and the sizes that they were called with.
    """

    outputs: list[Tensor] = field(factory=list)
    glances: list[Glance] = field(factory=list)
    operators: int = 0
    calls: int = 0
    error: str = ""
    module: str = ""
    line: str = ""

    @property
    def finite(self) -> bool:
        """Whether all numbers of the outputs are finite."""
        return all(bool(output.isfinite().all()) for output in self.outputs)


def forward(
    model: nn.Module,
    example: Example,
    precise: bool,
    operators: Operators,
    averages: Sequence[Average] = (),
    *,
    times: int = 1,
    after: Callable[[], None] = lambda: None,
) -> Run:
    """Run the model without gradients, in the example's mode; errors are recorded, not raised.

    Random draws are constants. Modes, random states, buffers and plain attributes are as before
    afterwards. `operators` are the rows of all operators; for `averages` see `OperatorMode`.
    The outputs are those of the first of several `times`; `after` is called before plain attributes
    are restored.
    """
    result = Run()
    stack: list[str] = []
    mode = OperatorMode(precise, operators, averages)
    args, kwargs = example.fresh(precise)
    with (
        _unchanged(model, example.training),
        _watched(model, stack, mode, result),
        torch.no_grad(),
        mode,
    ):
        try:
            result.outputs = [leaf.clone() for leaf in tensors_of(model(*args, **kwargs))]
            for _ in range(times - 1):
                again, named = example.fresh(precise)
                model(*again, **named)
            after()
        except FORWARD_ERRORS as error:
            result.error = f"{type(error).__name__}: {_first_line(error)}"
            result.module = stack[-1] if stack else ""
            result.line = place_in_code(error)
    result.operators, result.calls = mode.operators, mode.calls
    if not (mode.followed and not mode.averages) and not result.error:
        result.error = "the averages of the model run in another order than in its trace"
    return result


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0][:200]


def tensors_of(output: Any) -> list[Tensor]:
    """Return every tensor of a model's output, inside mappings, sequences and dataclasses too."""
    if isinstance(output, Mapping):
        parts: list[Any] = list(output.values())
    elif dataclasses.is_dataclass(output) and not isinstance(output, type):
        parts = [getattr(output, each.name) for each in dataclasses.fields(output)]
    elif isinstance(output, Tensor):
        return [output]
    else:
        parts = [leaf for leaf in tree_leaves(output) if leaf is not output]
    return [tensor for part in parts for tensor in tensors_of(part)]


def _cuda() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


@contextmanager
def _unchanged(model: nn.Module, training: bool | None) -> Iterator[None]:
    """Restore modes, caches, random states and every tensor that the forward wrote into."""
    held = (tensor for each in held_tensors(model) for tensor in each.tensors)
    written = [(x, x.detach().clone(), x._version) for x in (*model.buffers(), *held)]
    devices = list(range(torch.cuda.device_count())) if _cuda() else []
    fast = torch.backends.mha.get_fastpath_enabled()
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with restored(model), torch.random.fork_rng(devices):
            if training is not None:
                model.train(training)
            torch.backends.mha.set_fastpath_enabled(False)
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        random.setstate(python)
        np.random.set_state(numpy)
        for tensor, copy, version in written:
            # A batch norm in training does not count its writes as changes of a version.
            unseen = training is not False and not torch.equal(tensor, copy)
            if tensor._version != version or unseen:
                tensor.detach().copy_(copy)


@contextmanager
def _watched(model: nn.Module, stack: list[str], mode: OperatorMode, result: Run) -> Iterator[None]:
    """Keep `stack` at the modules that are running, and record a digest of each output."""

    def enter(path: str) -> Any:
        return lambda module, args: stack.append(path)

    def leave(path: str) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            stack.pop()
            before = mode.operators, mode.calls
            result.glances.append(_glance(path, output, mode.operators))
            mode.operators, mode.calls = before

        return hook

    handles: list[Any] = []
    for path, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):  # takes no hooks
            continue
        handles += [
            module.register_forward_pre_hook(enter(path)),
            module.register_forward_hook(leave(path)),
        ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _batched(tensor: Tensor) -> bool:
    """Whether a tensor stands for a batch inside of vmap, where its values cannot be read."""
    return bool(torch._C._functorch.is_batchedtensor(tensor))


def _glance(path: str, output: Any, operators: int) -> Glance:
    leaves = [leaf for leaf in tensors_of(output) if has_fractions(leaf) and not _batched(leaf)]
    sums = tuple(float(leaf.abs().sum(dtype=torch.float64)) for leaf in leaves)
    return Glance(path, tuple(tuple(leaf.shape) for leaf in leaves), sums, operators)

"""Checks of a loss for its author's own test suite.

In a test file::

    @pytest.mark.parametrize("check", check_loss(MyLoss()), ids=str)
    def test_my_loss(check):
        check.run()
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from nodelens.interfaces.loss import Loss, RowLoss
from nodelens.testing.checks import Check, demand
from nodelens.testing.imports import check_light

if TYPE_CHECKING:
    from torch import Tensor

    from nodelens.capture.batches import Batch

_ROWS = 6
"""The number of rows of the example; each row alone has to give the same loss."""


@frozen(eq=False)
class LossExample:
    """Outputs of a model and their targets, with rows in the first axis of both.

    `wrap` makes of the outputs, a tensor, what the model returns; None returns the tensor itself.
    """

    output: Tensor
    targets: Tensor | None
    wrap: Callable[[Tensor], Any] | None = None

    def case(self, rows: Tensor, requires_grad: bool = False) -> tuple[Any, Tensor, Batch]:
        """Return what the model returns for some rows, the tensor in it, and their batch."""
        from nodelens.capture.batches import Batch

        inner = self.output[rows].clone().requires_grad_(requires_grad)
        targets = None if self.targets is None else self.targets[rows]
        batch = Batch((self.output[rows],), targets=targets, index=rows)
        return (self.wrap(inner) if self.wrap else inner), inner, batch


def check_loss(instance: Loss, example: LossExample | None = None) -> Iterator[Check]:
    """Yield the checks of one loss.

    Args:
        instance: a loss with any options.
        example: outputs and targets that it fits; None takes logits of four classes, or four
            numbers or labels of each row, by what the loss says it is a distribution over.

    Returns:
        Named checks, each to be run by itself.
    """
    checks: list[tuple[str, Callable[[Loss, LossExample], None]]] = [
        ("gives one finite number per row", _one_per_row),
        ("a row has the same loss alone and in any order", _independent),
        ("is differentiable", _differentiable),
        ("counts the labels of each row", _counts),
        ("what training minimises falls along its gradient", _descends),
        ("measures are finite, and of any number of left out rows", _measures),
        ("drawn labels belong to their row", _draws),
        ("leaves outputs and targets as they were", _unmodified),
    ]
    yield Check("imports without heavy packages", lambda: check_light(type(instance).__module__))
    for name, run in checks:
        yield Check(name, partial(_run, run, instance, example))


def _run(
    check: Callable[[Loss, LossExample], None], instance: Loss, example: LossExample | None
) -> None:
    check(instance, example or _example(instance))


def _example(instance: Loss) -> LossExample:
    import torch

    from nodelens.seeding import generator

    random = generator(0, "loss checks")
    output = torch.randn(_ROWS, 4, generator=random, dtype=torch.float64)
    kind = instance.info.distribution
    if kind == "classes":
        return LossExample(output, torch.arange(_ROWS) % 4)
    targets = torch.randn(_ROWS, 4, generator=random, dtype=torch.float64)
    return LossExample(output, (targets > 0).double() if kind == "binary" else targets)


def _every(example: LossExample) -> Tensor:
    import torch

    return torch.arange(len(example.output))


def _one_per_row(instance: Loss, example: LossExample) -> None:
    output, _, batch = example.case(_every(example))
    found = instance.row_losses(output, batch)
    shape = tuple(found.shape)
    demand(shape == (batch.rows,), f"the shape is {shape}, expected ({batch.rows},)")
    demand(bool(found.isfinite().all()), f"the losses are {found.tolist()}")


def _independent(instance: Loss, example: LossExample) -> None:
    import torch

    rows = _every(example)
    output, _, batch = example.case(rows)
    together = instance.row_losses(output, batch).detach()
    for some in (*rows.unsqueeze(1), rows.flip(0)):
        part, _, of_part = example.case(some)
        alone = instance.row_losses(part, of_part).detach()
        demand(
            torch.allclose(alone, together[some], rtol=1e-6),
            f"rows {some.tolist()} have {alone.tolist()}, among others {together[some].tolist()}",
        )


def _differentiable(instance: Loss, example: LossExample) -> None:
    output, inner, batch = example.case(_every(example), requires_grad=True)
    total = instance.row_losses(output, batch).sum()
    demand(total.requires_grad, "the loss has no gradient by the outputs")
    total.backward()  # type: ignore[no-untyped-call]
    demand(
        inner.grad is not None and bool(inner.grad.isfinite().all()), "the gradient is not finite"
    )


def _counts(instance: Loss, example: LossExample) -> None:
    _, _, batch = example.case(_every(example))
    found = RowLoss(instance, "loss").counts(batch)
    demand(tuple(found.shape) == (batch.rows,), f"the shape is {tuple(found.shape)}")
    demand(not found.is_floating_point() and bool((found >= 0).all()), f"got {found.tolist()}")


def _descends(instance: Loss, example: LossExample) -> None:
    loss = RowLoss(instance, "loss")
    output, inner, batch = example.case(_every(example), requires_grad=True)
    before = loss.batch_mean(output, batch)
    before.backward()  # type: ignore[no-untyped-call]
    assert inner.grad is not None
    lower = evolve(example, output=example.output - 1e-4 * inner.grad)
    output, _, batch = lower.case(_every(example))
    demand(float(loss(output, batch).sum()) <= float(loss(*_pair(example)).sum()), "the sum rises")


def _pair(example: LossExample) -> tuple[Any, Batch]:
    output, _, batch = example.case(_every(example))
    return output, batch


def _measures(instance: Loss, example: LossExample) -> None:
    import numpy as np

    loss = RowLoss(instance, "loss")
    output, batch = _pair(example)
    sums = {name: each.double().numpy() for name, each in loss.row_sums(output, batch).items()}
    for name, each in sums.items():
        demand(each.shape == (batch.rows,), f"{name} has shape {each.shape}")
    whole = loss.measures({name: each.sum() for name, each in sums.items()})
    without = loss.measures({name: each.sum() - each for name, each in sums.items()})
    for name, value in whole.items():
        demand(np.isfinite(value), f"{name} is {value}")
        demand(np.shape(without[name]) == (batch.rows,), f"{name} takes no array of sums")


def _draws(instance: Loss, example: LossExample) -> None:
    import torch

    from nodelens.capture.losses import drawn_labels

    loss = RowLoss(instance, "loss")
    if loss.distribution is None:
        return
    rows = _every(example)
    output, batch = _pair(example)
    drawn = drawn_labels(loss, output, batch)
    demand(bool(loss(output, drawn).isfinite().all()), "the loss of drawn labels is not finite")
    whole = drawn.targets
    assert whole is not None
    for some in rows.view(2, -1):
        part, _, of_part = example.case(some)
        found = drawn_labels(loss, part, of_part).targets
        same = found is not None and torch.equal(found, whole[some])
        demand(same, "other rows change what is drawn for a row")


def _unmodified(instance: Loss, example: LossExample) -> None:
    import torch

    output, inner, batch = example.case(_every(example))
    tensors = [each for each in (inner, batch.targets) if each is not None]
    before = [each.clone() for each in tensors]
    instance.row_losses(output, batch)
    same = [torch.equal(*pair) for pair in zip(tensors, before, strict=True)]
    demand(all(same), "the outputs or the targets were changed in place")

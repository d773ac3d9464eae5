"""Products of a vector with the Hessian of the loss or with the Gauss–Newton matrix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from nodelens.capture.losses import logits_of

if TYPE_CHECKING:
    from torch import nn

    from nodelens.capture.batches import Batch

Matrix = Literal["hessian", "gauss_newton"]
"""The Hessian JᵀHJ + Σ r·∇²f, or its first term, with H the Hessian of the loss by the logits."""

HessianProduct = Callable[[Sequence[Tensor]], list[Tensor]]
"""Gives the matrix times a vector; both are one tensor per parameter."""


def product_with(
    matrix: Matrix,
    model: nn.Module,
    batch: Batch,
    loss: Callable[[Any, Batch], Tensor],
    parameters: Sequence[Tensor],
) -> HessianProduct:
    """Return the product with a matrix of the loss summed over a batch.

    One forward and backward pass here; each product then takes one backward pass through that
    backward pass, for the Hessian, or one through it and one through the model.
    """
    output = batch.call(model)
    total = loss(output, batch).sum()
    if matrix == "hessian":
        return _hessian(total, parameters)
    return _gauss_newton(total, logits_of(output, batch.targets), parameters)


def gradient(
    total: Tensor, parameters: Sequence[Tensor], create_graph: bool = False
) -> list[Tensor]:
    """Return the gradient, zeros for parameters that `total` does not depend on."""
    found = torch.autograd.grad(total, parameters, create_graph=create_graph, allow_unused=True)
    return _filled(found, parameters)


def _hessian(total: Tensor, parameters: Sequence[Tensor]) -> HessianProduct:
    slopes = gradient(total, parameters, create_graph=True)

    def product(vector: Sequence[Tensor]) -> list[Tensor]:
        return _pulled(slopes, parameters, vector)

    return product


def _gauss_newton(total: Tensor, logits: Tensor, parameters: Sequence[Tensor]) -> HessianProduct:
    slope = torch.autograd.grad(total, logits, create_graph=True)[0]
    probe = torch.zeros_like(logits, requires_grad=True)
    found = torch.autograd.grad(logits, parameters, probe, create_graph=True, allow_unused=True)
    back = _filled(found, parameters)

    def product(vector: Sequence[Tensor]) -> list[Tensor]:
        (forward,) = _pulled(back, [probe], vector)
        (curved,) = _pulled([slope], [logits], [forward])
        return _pulled([logits], parameters, [curved])

    return product


def _pulled(
    outputs: Sequence[Tensor], inputs: Sequence[Tensor], vector: Sequence[Tensor]
) -> list[Tensor]:
    """Return the derivative of ⟨outputs, vector⟩; outputs that are constants give zeros."""
    pairs = [(o, v) for o, v in zip(outputs, vector, strict=True) if o.requires_grad]
    if not pairs:
        return [torch.zeros_like(each) for each in inputs]
    given, weights = zip(*pairs, strict=True)
    found = torch.autograd.grad(given, inputs, weights, retain_graph=True, allow_unused=True)
    return _filled(found, inputs)


def _filled(found: Sequence[Tensor | None], like: Sequence[Tensor]) -> list[Tensor]:
    return [
        torch.zeros_like(each) if value is None else value
        for value, each in zip(found, like, strict=True)
    ]

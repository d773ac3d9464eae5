"""Readings of statistics, made from the tensors of hook points."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from attrs import evolve
from torch import Tensor, nn

from nodelens.capture.hooks.site_reading import (
    Positions,
    flat_positions,
    grid_of,
    nodes_of,
    plain_nodes,
    samples_first,
    valid_positions,
)
from nodelens.capture.producer_inputs import features_of, outputs_of
from nodelens.errors import CaptureError
from nodelens.interfaces.statistic import Reading

if TYPE_CHECKING:
    from nodelens.capture.hooks.batch_forward import BatchForward
    from nodelens.capture.hooks.hook_points import HookPoint

_OF_WEIGHTS = ("input", "weight")


def positions_at(
    now: BatchForward, point: HookPoint, module: nn.Module, tensor: Tensor
) -> Positions:
    """Return a tensor as ``(rows, positions, nodes)``, every packed sequence a row of its own."""
    rows = now.numbers.shape[0]
    if now.batch.length is None and point.place not in _OF_WEIGHTS:
        plain = plain_nodes(tensor, point.site, point.rows, rows, point.components)
        if plain is not None:
            return Positions(plain, tokens=False)
    name = point.site.name
    if point.place in _OF_WEIGHTS:
        shaped = outputs_of if point.second else features_of
        found = samples_first(shaped(module, tensor), point.rows, rows, name).unsqueeze(-2)
    else:
        found = nodes_of(tensor, point.site, point.rows, rows, point.components)
    laid = flat_positions(found, now.batch.length_in(found.shape[1:-2]), name)
    if now.segments is None or (now.segments.start is None and not laid.tokens):
        return laid
    if not laid.tokens:
        raise CaptureError(f"{name} has one position for all sequences of a packed row")
    return evolve(laid, values=now.segments.unpack(laid.values))


def reading_at(
    now: BatchForward,
    point: HookPoint,
    module: nn.Module,
    tensor: Tensor,
    folds: int,
    pivot: Tensor | None = None,
) -> Reading:
    """Return the reading of a tensor at a hook point, with rows in a number of folds."""
    laid = positions_at(now, point, module, tensor.detach() if tensor.requires_grad else tensor)
    values, device, valid = laid.values, laid.values.device, None
    if laid.tokens and (mask := now.mask_of(laid.length)) is not None:
        valid = valid_positions(mask, values)
        values = blanked(values, valid)
    if pivot is not None and pivot.device != device:
        pivot = pivot.to(device)
    known = now.samples_on(device, folds, laid.tokens)
    return Reading(
        values,
        known.fold,
        valid=valid,
        targets=known.targets,
        index=known.index,
        grid=grid_of(tensor, point.site, point.rows, now.numbers.shape[0]) if point.mapped else (),
        components=point.components,
        pivot=pivot,
        start=known.start,
        site=point.number,
        shared={("members", folds): (known.members,)},
    )


def gradient_at(
    now: BatchForward, point: HookPoint, module: nn.Module, gradient: Tensor, of: Reading
) -> Tensor:
    """Return the gradient of a reading's values, in their shape, 0 at padding."""
    laid = positions_at(now, point, module, gradient.detach())
    return blanked(laid.values, of.valid if laid.tokens else None)


def loss_reading(now: BatchForward, losses: Tensor, labels: Tensor, folds: int) -> Reading:
    """Return the loss of each row and its number of labels, ``(rows, 1, 2)``."""
    known = now.samples_on(losses.device, folds, tokens=False)
    labels = labels.to(losses)
    valid = (labels > 0).unsqueeze(1)
    both = torch.stack([losses, labels], dim=-1).unsqueeze(1)
    return Reading(blanked(both, valid), known.fold, valid=valid, index=known.index)


def blanked(values: Tensor, valid: Tensor | None) -> Tensor:
    """Return values that are 0 at padding."""
    return values if valid is None else values.masked_fill(~valid.unsqueeze(-1), 0.0)

"""Parameter slices of nodes: made differentiable for a while, and summed by node."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, get_args

import torch
from torch import Tensor, nn

from nodelens.channels.groups import Role

if TYPE_CHECKING:
    from nodelens.capture.batches import Batch
    from nodelens.channels.groups import ChannelGroup

ROLES: tuple[Role, ...] = get_args(Role)
"""Roles of a parameter's slices, in the order of sums by role."""


def owned(
    model: nn.Module, groups: Iterable[ChannelGroup], roles: Iterable[Role] = ROLES
) -> dict[str, nn.Parameter]:
    """Return the parameters with slices of nodes in these roles, each once, by one name.

    Buffers have no gradient and are left out.
    """
    known = dict(model.named_parameters(remove_duplicate=False))
    wanted = set(roles)
    names = [part.parameter for group in groups for part in group.slices if part.role in wanted]
    first: dict[int, str] = {}
    for name in dict.fromkeys(names):
        if name in known and known[name].is_floating_point():
            first.setdefault(id(known[name]), name)
    return {name: known[name] for name in first.values()}


@contextmanager
def differentiable(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Let gradients flow to parameters, twice if requested; restore on exit.

    Attention runs without its fused kernels, which cannot be differentiated twice.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel

    flags = [(each, each.requires_grad) for each in parameters]
    try:
        for each, _ in flags:
            each.requires_grad_(True)
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        for each, flag in flags:
            each.requires_grad_(flag)


def counted_rows(batch: Batch) -> int:
    """Return the number of rows with a position that counts."""
    return batch.rows if batch.mask is None else int(batch.mask.bool().any(1).sum())


def by_role(group: ChannelGroup, model: nn.Module, values: Mapping[str, Tensor]) -> Tensor:
    """Return sums over the slices of each node, ``(roles, nodes)`` float64.

    `values` holds one tensor of a parameter's shape by the names that `owned` gives; parameters
    without one count as zeros.
    """
    known = dict(model.named_parameters(remove_duplicate=False))
    found = {id(known[name]): tensor for name, tensor in values.items()}
    total = torch.zeros(len(ROLES), group.width, dtype=torch.float64)
    for part in group.slices:
        tensor = found.get(id(known.get(part.parameter)))
        if tensor is not None:
            own = part.extent.nodes_first(tensor.detach().contiguous(), part.axis)
            total[ROLES.index(part.role)] += own.sum(1, dtype=torch.float64).cpu()
    return total

"""Weights of nodes as variables of the loss: made differentiable for a while, summed by node.

A weight that the model computes from parameters is a variable of its own: the derivatives are by
what is multiplied, not by its factors.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, get_args

import torch
from torch import Tensor, nn

from nodelens.channels.groups import Role
from nodelens.errors import NotApplicableError
from nodelens.scoring.effective_weights import effective_weights
from nodelens_metrics.curvature.substitution import Substitution

if TYPE_CHECKING:
    from nodelens.capture.batches import Batch
    from nodelens.channels.groups import ChannelGraph, ChannelGroup

ROLES: tuple[Role, ...] = get_args(Role)
"""Roles of a parameter's slices, in the order of sums by role."""


def owned(
    model: nn.Module,
    graph: ChannelGraph,
    groups: Iterable[ChannelGroup],
    roles: Iterable[Role] = ROLES,
) -> dict[str, Tensor]:
    """Return the weights with slices of nodes in these roles, each once, by one name.

    Stored weights are the model's parameters, and buffers that it multiplies with. Computed ones
    are tensors of their own. Other buffers, such as running means, are left out, and so are weights
    that depend on data.
    """
    known: dict[str, Tensor] = dict(model.named_parameters(remove_duplicate=False))
    buffers = dict(model.named_buffers(remove_duplicate=False))
    weights = effective_weights(model, graph)
    parts = [part for group in groups for part in group.weights(*roles)]
    multiplied = {part.parameter for part in parts if part.role != "carrier"}
    known |= {name: each for name, each in buffers.items() if name in multiplied}
    found: dict[int, tuple[str, Tensor]] = {}
    for name in dict.fromkeys(part.parameter for part in parts):
        if name in graph.computed:
            with suppress(NotApplicableError):
                found[id(name)] = name, weights[name].detach().clone()
        elif name in known and known[name].is_floating_point():
            found.setdefault(id(known[name]), (name, known[name]))
    return dict(found.values())


@contextmanager
def differentiable(
    variables: Mapping[str, Tensor], computed: Container[str] = ()
) -> Iterator[Substitution]:
    """Let gradients flow to the weights of `owned`, twice if requested; restore on exit.

    The variables of `computed` weights take the places of the weights in every forward. Attention
    runs without its fused kernels, which cannot be differentiated twice.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel

    flags = [(each, each.requires_grad) for each in variables.values()]
    substitution = Substitution({name: v for name, v in variables.items() if name in computed})
    try:
        for each, _ in flags:
            each.requires_grad_(True)
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), substitution:
            yield substitution
    finally:
        for each, flag in flags:
            each.requires_grad_(flag)


def counted_rows(batch: Batch) -> int:
    """Return the number of rows with a position that counts."""
    return batch.rows if batch.mask is None else int(batch.mask.bool().any(1).sum())


def by_role(
    group: ChannelGroup,
    model: nn.Module,
    values: Mapping[str, Tensor],
    roles: Iterable[Role] = ROLES,
) -> Tensor:
    """Return sums over the slices of each node, ``(roles, nodes)`` float64.

    `values` holds one tensor of a weight's shape by the names that `owned` gives for `roles`;
    parameters without one count as zeros, computed weights as NaN.
    """
    known = dict(model.named_parameters(remove_duplicate=False))
    tied = {id(known[name]): tensor for name, tensor in values.items() if name in known}
    total = torch.zeros(len(ROLES), group.width, dtype=torch.float64)
    for part in group.weights(*roles):
        tensor = values.get(part.parameter, tied.get(id(known.get(part.parameter))))
        if tensor is not None:
            own = part.extent.nodes_first(tensor.detach().contiguous(), part.axis)
            total[ROLES.index(part.role)] += own.sum(1, dtype=torch.float64).cpu()
        elif part in group.computed:
            total[ROLES.index(part.role)] = float("nan")
    return total

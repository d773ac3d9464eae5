"""A reader of the operands that modules multiply with their own parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING

from nodelens.masks.operand_products import Watch
from nodelens.masks.product_hooks import watching_products

if TYPE_CHECKING:
    from torch import Tensor, nn

    from nodelens.channels.groups import Site
    from nodelens.interfaces.operator import Operator


def operand_reader(
    model: nn.Module,
    sites: Sequence[Site],
    read: Callable[[Site, Tensor], None],
    operators: Sequence[Operator] = (),
) -> AbstractContextManager[None]:
    """Call ``read(site, tensor)`` for every operand met while the context is open.

    Sites of other ends are left out. The tensors are those of the forward itself: with gradients
    enabled they carry them, so that a hook on one reads its gradient; ``site.nodes`` brings them to
    ``(samples, positions, nodes)``. A module may meet a site any number of times in one call.
    `operators` are those that the core does not know, as `ChannelGraph.operators` holds them.
    Raises `ModelError` where the model does not have the parameter of a site.
    """
    watches = [Watch(site, partial(_shown, read, site)) for site in sites if site.end == "operand"]
    return watching_products(model, watches, operators, changes=False)


def _shown(
    read: Callable[[Site, Tensor], None], site: Site, operand: Tensor, axis: int, indices: Tensor
) -> None:
    read(site, operand)

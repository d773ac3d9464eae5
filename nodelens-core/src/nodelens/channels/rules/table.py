"""All operators of the core, one row each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import torch

from nodelens.channels.rules import arithmetic, layers, positions, products, selection, structure

if TYPE_CHECKING:
    from nodelens.interfaces.operator import Operator, Operators

FAMILIES: Mapping[str, tuple[Operator, ...]] = {
    "structure": structure.OPERATORS,
    "selection": selection.OPERATORS,
    "arithmetic": arithmetic.OPERATORS,
    "products": products.OPERATORS,
    "layers": layers.OPERATORS,
    "positions": positions.OPERATORS,
}


def is_known(name: str) -> bool:
    """Whether the core knows an operator: by a row, or since torch says that it is pointwise."""
    packet = getattr(torch.ops.aten, name, None)
    overloads = [getattr(packet, each) for each in packet.overloads()] if packet else []
    pointwise = any(torch.Tag.pointwise in each.tags for each in overloads)
    return pointwise or name in operator_table()


def operator_table(further: Iterable[Operator] = ()) -> Operators:
    """Return the rows of the core and `further` ones by name; further rows override the core's."""
    families = (row for family in FAMILIES.values() for row in family)
    return {row.name: row for row in (*families, *further)}

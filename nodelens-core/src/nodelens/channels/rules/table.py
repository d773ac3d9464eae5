"""All operators of the core, one row each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

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


def operator_table(further: Iterable[Operator] = ()) -> Operators:
    """Return the rows of the core and `further` ones by name; further rows override the core's."""
    families = (row for family in FAMILIES.values() for row in family)
    return {row.name: row for row in (*families, *further)}

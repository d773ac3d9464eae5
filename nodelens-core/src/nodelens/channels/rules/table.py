"""All rules of the core, by operator."""

from __future__ import annotations

from collections.abc import Mapping

from nodelens.channels.rules import arithmetic, layers, positions, products, selection, structure
from nodelens.channels.rules.operation import Rule

RULES: Mapping[str, Rule] = {
    **structure.RULES,
    **selection.RULES,
    **arithmetic.RULES,
    **products.RULES,
    **layers.RULES,
    **positions.RULES,
}

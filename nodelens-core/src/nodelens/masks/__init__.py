"""Masks: nodes replaced by zero or by their mean while the model runs, without changing it."""

from __future__ import annotations

from nodelens.masks.context import kept_nodes, mask

__all__ = ["kept_nodes", "mask"]

"""Masks: nodes replaced by zero, mean or resampled values while a model runs, unchanged."""

from __future__ import annotations

from nodelens.masks.kept_nodes import kept_nodes
from nodelens.masks.masking import mask, mask_batch, repeated
from nodelens.masks.operand_reading import operand_reader

__all__ = ["kept_nodes", "mask", "mask_batch", "operand_reader", "repeated"]

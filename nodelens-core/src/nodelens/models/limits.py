"""Bounds of the reference models: sizes that cannot be meant are mistakes in a config."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from attrs import validators

from nodelens.errors import ModelError

if TYPE_CHECKING:
    from torch import nn

WIDEST = 1 << 20
"""The most nodes of a layer."""

WIDTH: Any = validators.and_(validators.gt(0), validators.le(WIDEST))


def widths(*lengths: Any) -> Any:
    """Return the validator of a list of layers' widths, with validators of its length."""
    return validators.deep_iterable(WIDTH, validators.and_(validators.max_len(1024), *lengths))


def check_memory(make: Callable[[], nn.Module], what: str) -> None:
    """Raise `ModelError` for a network whose parameters are larger than the machine's memory.

    The network is made without values first.
    """
    import psutil
    import torch

    with torch.device("meta"):
        size = sum(each.numel() * each.element_size() for each in make().parameters())
    whole = int(psutil.virtual_memory().total)
    if size > whole:
        raise ModelError(
            f"model: {what} has parameters of {size:,} bytes, more than the {whole:,} of this "
            "machine's memory; give smaller layers"
        )

"""Configurations that say more of a pruned model's widths than the one that it has."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from nodelens_hf.skeletons import Difference

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

_LAYER = re.compile(r"(?:^|\.)(?:layers?|h|blocks?)\.(\d+)\.")
_DERIVED = {"head_dim": "head_dim", "head_size": "head_dim"}
"""Attributes of modules that a configuration may name although it derives them by default."""


def candidates(model: PreTrainedModel, changes: Difference) -> Iterator[PretrainedConfig]:
    """Yield copies of the configuration that name widths which it derived or did not have.

    First those with one width for all layers, then one with a width per layer, for the classes that
    read it. Whether a class reads them is for the caller to find out: build from it and compare.
    """
    named = _with_derived(model, changes)
    if named is not None:
        yield named
    layered = _with_layer_widths(model, changes)
    if layered is not None:
        yield layered


def _with_derived(model: PreTrainedModel, changes: Difference) -> PretrainedConfig | None:
    """Return the configuration with head size and inner width written out, if all layers agree."""
    values: dict[str, set[int]] = {}
    for attributes in changes.attributes.values():
        for name, field in _DERIVED.items():
            if name in attributes:
                values.setdefault(field, set()).add(attributes[name])
    if getattr(model.config, "n_inner", 0) is None:
        inner = {a["nf"] for p, a in changes.attributes.items() if p.endswith("c_fc") and "nf" in a}
        values["n_inner"] = inner
    agreed = {field: next(iter(found)) for field, found in values.items() if len(found) == 1}
    if not agreed:
        return None
    config = copy.deepcopy(model.config)
    for field, value in agreed.items():
        setattr(config, field, value)
    return config


def _with_layer_widths(model: PreTrainedModel, changes: Difference) -> PretrainedConfig | None:
    """Return the configuration with `per_layer_config`; None where there is no such form."""
    config = copy.deepcopy(model.config)
    widths: Any = _layer_widths(model, changes)
    if not hasattr(config, "is_heterogeneous") or not widths:
        return None
    try:
        config.per_layer_config = widths
    except (TypeError, ValueError, AttributeError, KeyError, RuntimeError):
        return None
    return config


def _layer_widths(model: PreTrainedModel, changes: Difference) -> dict[int, dict[str, int]]:
    """Return the widths of every layer that has its own, by what its modules are called."""
    found: dict[int, dict[str, int]] = {}
    head = getattr(model.config, "head_dim", None)
    for name, shape in changes.shapes.items():
        layer = _LAYER.search(name)
        if layer is None:
            continue
        width = found.setdefault(int(layer.group(1)), {})
        if name.endswith(("down_proj.weight", "fc2.weight")):
            width["intermediate_size"] = shape[1]
        if head and name.endswith("k_proj.weight"):
            width["num_key_value_heads"] = shape[0] // head
        if head and name.endswith("q_proj.weight"):
            width["num_attention_heads"] = shape[0] // head
    return {layer: width for layer, width in found.items() if width}

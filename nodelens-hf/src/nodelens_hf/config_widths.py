"""Configurations that state a pruned model's widths in more detail than its own."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from attrs import frozen

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

    from nodelens_hf.empty_model import Difference

_LAYER = re.compile(r"(?:^|\.)(?:layers?|h|blocks?)\.(\d+)\.")
_HEAD_SIZES = ("head_dim", "head_size")
"""Attributes of attention that a configuration names ``head_dim``, or derives by default."""


@frozen(eq=False)
class WidthConfig:
    """Configuration, and the fields that state more than the model's own configuration."""

    config: PretrainedConfig
    fields: frozenset[str]


def candidates(model: PreTrainedModel, changes: Difference) -> Iterator[WidthConfig]:
    """Yield copies of the configuration that state derived or missing widths.

    First copies with one width for all layers, then a copy with a width per layer, for the classes
    that read one. The caller checks whether a class reads the widths: build a model and compare.
    """
    for make in (_with_derived, _with_layer_widths):
        found = make(model, changes)
        if found is not None:
            yield found


def _with_derived(model: PreTrainedModel, changes: Difference) -> WidthConfig | None:
    """Return the configuration with derived widths written out, if all layers agree on them."""
    found = {
        "head_dim": {
            attributes[name]
            for attributes in changes.attributes.values()
            for name in _HEAD_SIZES
            if name in attributes
        }
    }
    if getattr(model.config, "n_inner", 0) is None:
        found["n_inner"] = {
            attributes["nf"]
            for path, attributes in changes.attributes.items()
            if path.endswith("c_fc") and "nf" in attributes
        }
    if getattr(model.config, "mlp_ratio", None) is not None:
        found["mlp_ratio"] = {
            shape[0] / shape[1]
            for name, shape in changes.shapes.items()
            if name.endswith("fc1.weight")
        }
    agreed = {field: next(iter(values)) for field, values in found.items() if len(values) == 1}
    if not agreed:
        return None
    config = copy.deepcopy(model.config)
    for field, value in agreed.items():
        setattr(config, field, value)
    return WidthConfig(config, frozenset(agreed))


def _with_layer_widths(model: PreTrainedModel, changes: Difference) -> WidthConfig | None:
    """Return the configuration with `per_layer_config`; None where impossible."""
    config: Any = copy.deepcopy(model.config)
    if not hasattr(config, "is_heterogeneous"):
        return None
    try:
        widths = _layer_widths(config, changes)
        said = {int(layer): own for layer, own in _said_per_layer(config).items()}
        config.per_layer_config = {
            layer: said.get(layer, {}) | widths.get(layer, {}) for layer in said | widths
        }
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError):
        return None  # layers that the configuration does not number, or fields that it refuses
    fields = frozenset(field for own in widths.values() for field in own)
    return WidthConfig(config, fields) if fields else None


def _said_per_layer(config: Any) -> Mapping[str, dict[str, Any]]:
    """Return the fields that a configuration already has for single layers."""
    said: Mapping[str, dict[str, Any]] = config.to_dict().get("per_layer_config") or {}
    return said


def _layer_widths(config: Any, changes: Difference) -> dict[int, dict[str, int]]:
    """Return the widths of every layer with widths of its own, by module name."""
    found: dict[int, dict[str, int]] = {}
    for name, shape in changes.shapes.items():
        layer = _LAYER.search(name)
        if layer is None:
            continue
        number = int(layer.group(1))
        width = found.setdefault(number, {})
        if name.endswith(("down_proj.weight", "fc2.weight")):
            width["intermediate_size"] = shape[1]
        if name.endswith(("k_proj.weight", "q_proj.weight")):
            head = getattr(config.per_layer_config[number], "head_dim", None)
            kind = "num_key_value_heads" if "k_proj" in name else "num_attention_heads"
            if head:
                width[kind] = shape[0] // head
    return {layer: width for layer, width in found.items() if width}

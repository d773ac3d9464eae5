"""The JSON Schema: everything that checks also validates, and mistakes do not."""

from __future__ import annotations

import json
import re

import pytest

from nodelens.config.check import check_config
from nodelens.config.dump import to_mapping
from nodelens.config.load import raw_from_mapping
from nodelens.config.schema import COMPONENT_KINDS, RunConfig
from nodelens.config.schema_json import json_schema

TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}
ANNOTATIONS = {"$schema", "$defs", "title", "description", "default"}


def right_type(value, name):
    if isinstance(value, bool):
        return name == "boolean"
    return isinstance(value, TYPES[name])


KEYWORDS = {
    "type": lambda v, s, root: right_type(v, s),
    "enum": lambda v, s, root: v in s,
    "const": lambda v, s, root: v == s,
    "minimum": lambda v, s, root: v >= s,
    "exclusiveMinimum": lambda v, s, root: v > s,
    "maximum": lambda v, s, root: v <= s,
    "exclusiveMaximum": lambda v, s, root: v < s,
    "pattern": lambda v, s, root: re.search(s, v) is not None,
    "minLength": lambda v, s, root: len(v) >= s,
    "minItems": lambda v, s, root: len(v) >= s,
    "maxItems": lambda v, s, root: len(v) <= s,
    "minProperties": lambda v, s, root: not isinstance(v, dict) or len(v) >= s,
    "required": lambda v, s, root: not isinstance(v, dict) or set(s) <= v.keys(),
    "items": lambda v, s, root: all(valid(item, s, root) for item in v),
    "prefixItems": lambda v, s, root: all(valid(i, p, root) for i, p in zip(v, s, strict=True)),
    "anyOf": lambda v, s, root: any(valid(v, one, root) for one in s),
    "oneOf": lambda v, s, root: sum(valid(v, one, root) for one in s) == 1,
    "$ref": lambda v, s, root: valid(v, root["$defs"][s.removeprefix("#/$defs/")], root),
}


def valid(value, schema, root):
    """Say whether a value fits, for the keywords that the schema uses (others raise KeyError)."""
    if "type" in schema and not right_type(value, schema["type"]):
        return False
    rest = {k: s for k, s in schema.items() if k not in ANNOTATIONS}
    known, others = rest.pop("properties", {}), rest.pop("additionalProperties", True)
    if isinstance(value, dict):
        extra = [item for key, item in value.items() if key not in known]
        if (others is False and extra) or (
            isinstance(others, dict) and not all(valid(item, others, root) for item in extra)
        ):
            return False
        if not all(valid(value[key], known[key], root) for key in known if key in value):
            return False
    return all(KEYWORDS[keyword](value, wanted, root) for keyword, wanted in rest.items())


def fits(config, registry):
    schema = json_schema(registry)
    return valid(config, schema, schema)


BASE = {"model": "cnn", "data": "digits"}
GOOD = [
    {},
    {"plugins": ["a>=1"], "training": None, "seed": 5},
    {"plugins": {"disable": ["a"]}},
    {"plugins": None, "metrics": None, "reports": []},
    {"model": {"name": "cnn", "channels": [8]}},
    {"data": {"name": "digits", "batch_size": 3, "noise": 1}},
    {"data": {"name": "files", "path": "a", "columns": ["x", 1], "names": {"a": 1}}},
    {"metrics": ["rms", {"name": "redundancy", "top": None, "label": "r"}]},
    {"metrics": "made-up:rms", "analyses": {"name": "made-up:clusters"}},
    {"metrics": ["*", "r*", {"name": "redundancy", "top": 3}]},
    {"metrics": "[rt]*"},
    {"interventions": {"name": "ablation", "fractions": [0.2]}},
    {"pruning": {"name": "taylor", "sparsity": 0, "budget": {"nodes": 2}}},
    {"loss": "mse", "target": {"name": "logit", "nodes": 2}},
    {"loss": None, "target": None},
    {"training": {"epochs": 3, "optimizer": "sgd", "patience": 2, "learning_rate": 1}},
]
BAD = [
    {"seed": -1},
    {"seed": "0"},
    {"device": "gpu"},
    {"metricz": []},
    {"training": {"epoch": 3}},
    {"training": {"momentum": 1}},
    {"training": {"optimizer": "x"}},
    {"capture": None},
    {"model": "cn"},
    {"model": {"channels": [8]}},
    {"model": {"name": "cnn", "channels": []}},
    {"model": {"name": "mlp", "channels": [8]}},
    {"data": "files"},
    {"data": {"name": "files"}},
    {"data": {"name": "digits", "noise": 2}},
    {"metrics": ["rsm"]},
    {"metrics": [{"name": "redundancy", "tpo": 1}]},
    {"metrics": [{"name": "r*", "top": 1}]},
    {"analyses": ["*"]},
    {"analyses": [{"name": "clusters", "label": "a"}]},
    {"interventions": {"name": "ablation", "fractions": [2]}},
    {"pruning": {"name": "taylor", "budget": {"nodes": 0}}},
    {"loss": "msee"},
    {"loss": ["mse"]},
    {"target": {"name": "logit", "node": 2}},
    {"plugins": []},
    {"plugins": {"disabled": ["a"]}},
]


@pytest.mark.parametrize("more", GOOD)
def test_what_checks_also_validates(registry, more):
    config = check_config(raw_from_mapping({**BASE, **more}), registry)
    assert fits({**BASE, **more}, registry)
    assert fits(to_mapping(config), registry)


@pytest.mark.parametrize("more", BAD)
def test_mistakes_do_not_validate(registry, more):
    assert not fits({**BASE, **more}, registry)


def test_a_config_needs_a_model_and_data_or_a_base(registry):
    assert not fits({"model": "cnn"}, registry)
    assert fits({"extends": "base.yaml"}, registry)
    assert fits({"extends": ["a.yaml", "b.yaml"], "sweep": {"seed": [0, 1]}}, registry)
    assert not fits({**BASE, "sweep": {"seed": []}}, registry)


def test_the_schema_is_json(registry):
    schema = json_schema(registry)
    assert json.loads(json.dumps(schema, allow_nan=False)) == schema
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_every_section_is_described(registry):
    sections = json_schema(registry)["properties"]
    names = {field.name for field in RunConfig.__attrs_attrs__}
    assert sections.keys() == names | {"extends", "sweep"}
    assert all(section["description"] for section in sections.values())


def test_every_registered_component_is_there(registry):
    kinds = json_schema(registry)["$defs"]
    for section, kind in COMPONENT_KINDS.items():
        titles = {one["title"] for one in kinds[section]["oneOf"] if "title" in one}
        assert titles >= set(registry.names(kind)) - {"broken"}


def test_options_carry_their_documentation_and_default(registry):
    models = json_schema(registry)["$defs"]["model"]["oneOf"]
    (net,) = [model for model in models if model.get("title") == "cnn"]
    assert net["description"] == "A small network."
    assert net["properties"]["channels"] == {
        "type": "array",
        "items": {"type": "integer", "exclusiveMinimum": 0},
        "minItems": 1,
        "description": "widths of the layers, first to last.",
        "default": [16, 32],
    }


def test_a_component_that_cannot_be_imported_accepts_any_options(registry):
    (broken,) = [
        one
        for one in json_schema(registry)["$defs"]["pruning"]["oneOf"]
        if one.get("properties", {}).get("name") == {"const": "broken"}
    ]
    assert "is not an attrs class" in broken["description"]
    assert "additionalProperties" not in broken

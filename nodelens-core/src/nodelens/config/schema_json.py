"""The JSON Schema of configs, with everything that the loaded plugins offer, for editors."""

from __future__ import annotations

from nodelens.config.check import run_entries
from nodelens.config.class_keys import entries
from nodelens.config.components import LABEL, ComponentSource
from nodelens.config.docstrings import attribute_docs
from nodelens.config.schema import (
    COMPONENT_KINDS,
    LABELLED_SECTIONS,
    REQUIRED_SECTIONS,
    SECTIONS,
    SINGLE_SECTIONS,
    DataSettings,
    RunConfig,
)
from nodelens.config.schema import SECTION as PATTERNS
from nodelens.config.type_schemas import Schema, class_schema, entry_schema, type_schema
from nodelens.errors import NodelensError

DIALECT = "https://json-schema.org/draft/2020-12/schema"
QUALIFIED = {"type": "string", "pattern": "^[^:]+:[^:]+$"}
"""A component by ``distribution:name``."""
PATTERN = {
    "type": "string",
    "pattern": r"^[^:]*[*?\[][^:]*$",
    "description": "All metrics that match and that fit the data and the model.",
}
"""A name with wildcards; those with a distribution or a family are `QUALIFIED`."""
TEXTS: Schema = {"type": "array", "items": {"type": "string"}, "minItems": 1}


def json_schema(registry: ComponentSource) -> Schema:
    """Return a JSON Schema (draft 2020-12) of config files.

    Every kind of component is under ``$defs``: a bare name, or a mapping with ``name`` and that
    component's own options. A component whose class cannot be imported accepts any options.
    """
    return {
        "$schema": DIALECT,
        "title": "NodeLens config",
        "description": "One run of NodeLens, or with 'sweep' several.",
        "type": "object",
        "properties": _sections(),
        "anyOf": [{"required": ["extends"]}, {"required": sorted(REQUIRED_SECTIONS)}],
        "additionalProperties": False,
        "$defs": {section: _choice(section, registry) for section in COMPONENT_KINDS},
    }


def _sections() -> Schema:
    docs = attribute_docs(RunConfig)
    plain = run_entries()
    sections: Schema = {}
    for name in SECTIONS:
        if name in COMPONENT_KINDS:
            schema = _components(name)
        else:
            schema = _plugins() if name == "plugins" else entry_schema(plain[name], docs[name])
        sections[name] = {**schema, "description": docs[name]}
    return {**sections, "extends": _extends(), "sweep": _sweep()}


def _components(section: str) -> Schema:
    one = {"$ref": f"#/$defs/{section}"}
    if section in REQUIRED_SECTIONS:
        return one
    if section in SINGLE_SECTIONS:
        return {"anyOf": [one, {"type": "null"}]}
    return {"anyOf": [one, {"type": "array", "items": one}, {"type": "null"}]}


def _plugins() -> Schema:
    names = {"anyOf": [{"type": "string"}, TEXTS]}
    keys = {"only": names, "disable": names}
    mapping = {"type": "object", "properties": keys, "additionalProperties": False}
    return {"anyOf": [{"type": "null"}, {"type": "string"}, TEXTS, mapping]}


def _extends() -> Schema:
    text = "Files whose values this one takes over and adds to, relative to this file."
    return {"anyOf": [{"type": "string"}, TEXTS], "description": text}


def _sweep() -> Schema:
    return {
        "type": "object",
        "minProperties": 1,
        "additionalProperties": {"type": "array", "minItems": 1},
        "description": "Paths such as training.epochs with their values: a run per combination.",
    }


def _choice(section: str, registry: ComponentSource) -> Schema:
    """Return the schema of one component of a section."""
    names = sorted({name for name in registry.names(COMPONENT_KINDS[section]) if ":" not in name})
    bare: list[str] = []
    mappings: list[Schema] = []
    for name in names:
        try:
            cls = registry.component(COMPONENT_KINDS[section], name)
            found = entries(cls)
        except NodelensError as error:
            bare.append(name)
            mappings.append(_open_mapping({"const": name}, str(error)))
            continue
        if not any(entry.required for entry in found):
            bare.append(name)
        mappings.append(_mapping(section, name, cls))
    patterns = [PATTERN] if section == PATTERNS else []
    qualified = [QUALIFIED, _open_mapping(QUALIFIED, "A component by 'distribution:name'.")]
    return {"oneOf": [{"enum": bare}, *mappings, *qualified, *patterns]}


def _mapping(section: str, name: str, cls: type) -> Schema:
    schema = class_schema(cls)
    keys = {"name": {"const": name}, **_common(section), **schema["properties"]}
    required = ["name", *schema.get("required", [])]
    return {**schema, "title": name, "properties": keys, "required": required}


def _common(section: str) -> Schema:
    """Return the keys that the section itself takes beside the component's options."""
    if section == "data":
        return dict(class_schema(DataSettings, ("component",))["properties"])
    if section in LABELLED_SECTIONS:
        return {"label": {**type_schema(LABEL), "description": "The name in results."}}
    return {}


def _open_mapping(name: Schema, text: str) -> Schema:
    keys = {"name": name}
    return {"type": "object", "description": text, "properties": keys, "required": ["name"]}

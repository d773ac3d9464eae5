"""The JSON Schema of a type with its limits, and of the keys of an attrs class."""

from __future__ import annotations

from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from attrs import has

from nodelens.config.class_keys import MAPPINGS, ClassKey, entries
from nodelens.config.constraints import BOUNDS, split
from nodelens.config.docstrings import attribute_docs, summary
from nodelens.config.plain_values import is_json
from nodelens.config.words import UNIONS

Schema = dict[str, Any]
_NAMES = {NoneType: "null", bool: "boolean", int: "integer", float: "number"}


def type_schema(kind: Any) -> Schema:
    """Return the JSON Schema of what a type accepts."""
    plain, limits = split(kind)
    origin, arguments = get_origin(plain), get_args(plain)
    if plain in (Any, object):
        return {}
    if plain in (str, Path):
        pattern = limits.pattern and f"^(?:{limits.pattern})$"
        lengths = {"minLength": limits.shortest, "maxLength": limits.longest}
        return _known(type="string", pattern=pattern, **lengths)
    if plain in _NAMES:
        bounds = {each.keyword: limits.bounds.get(sign) for sign, each in BOUNDS.items()}
        return _known(type=_NAMES[plain], **bounds)
    if origin in UNIONS:
        return {"anyOf": [type_schema(each) for each in arguments]}
    if origin is Literal:
        return {"enum": list(arguments)}
    if has(plain):
        return class_schema(plain)
    if origin in MAPPINGS:
        return {"type": "object", "additionalProperties": type_schema(arguments[1])}
    sizes = {"minItems": limits.shortest, "maxItems": limits.longest}
    if origin is tuple and arguments[-1] is not Ellipsis:
        parts = [type_schema(each) for each in arguments]
        return _known(type="array", prefixItems=parts, **sizes)
    return _known(type="array", items=type_schema(arguments[0]), **sizes)


def class_schema(cls: type, leave_out: tuple[str, ...] = ()) -> Schema:
    """Return ``{"type": "object"}`` with every key, its documentation and nothing else."""
    found, docs = entries(cls, leave_out), attribute_docs(cls)
    required = [entry.key for entry in found if entry.required]
    return _known(
        type="object",
        properties={each.key: entry_schema(each, docs.get(each.name)) for each in found},
        required=required or None,
        description=summary(cls) or None,
        additionalProperties=False,
    )


def entry_schema(entry: ClassKey, doc: str | None) -> Schema:
    """Return the JSON Schema of one key's value, with documentation and default."""
    schema = type_schema(entry.kind) | _known(description=doc)
    return schema | ({"default": entry.default} if is_json(entry.default) else {})


def _known(**keys: Any) -> Schema:
    return {key: value for key, value in keys.items() if value is not None}

"""The keys of an attrs class: sections of a config, options of components, parts of a finding."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from attrs import NOTHING, Attribute, Factory, evolve, fields, frozen, has

from nodelens.config.constraints import Constraints, read_constraints
from nodelens.config.plain_values import plain
from nodelens.errors import PluginError

UNLIMITED = (NoneType, bool)
LIMITED = (int, float, str, Path)
MAPPINGS = (dict, Mapping)
LISTS = (list, tuple, set, frozenset, Sequence, Iterable, Collection)
_FACTORY: type = type(Factory(list))


@frozen
class ClassKey:
    """One key of a mapping that becomes the attribute `name` of an attrs class.

    `kind` is the type with the limits of its validator, see `limited`.
    """

    key: str
    name: str
    kind: Any  # Any: types
    required: bool
    default: Any  # Any: plain values, or attrs.NOTHING


@cache
def entries(cls: type, leave_out: tuple[str, ...] = ()) -> tuple[ClassKey, ...]:
    """Return the keys of an attrs class; raises `PluginError` for what a config cannot hold."""
    if not has(cls):
        raise PluginError(f"{_name(cls)} is not an attrs class, so its options cannot be checked")
    used = [field for field in fields(cls) if field.init and field.name not in leave_out]
    return tuple(_entry(cls, field) for field in used)


def values_of(instance: object) -> dict[str, Any]:
    """Return the mapping that gives an attrs object back, defaults included, as plain values."""
    cls: type = type(instance)
    return {each.key: plain(getattr(instance, each.name)) for each in entries(cls)}


def _entry(cls: type, field: Attribute[Any]) -> ClassKey:
    where = f"{_name(cls)}.{field.name}"
    if field.type is None:
        raise PluginError(f"{where}: the option has no type; annotate it")
    limits = read_constraints(field.validator, str(field.metadata.get("expected", "")))
    try:
        kind = limited(_annotation(cls, field), limits)
    except TypeError:
        raise PluginError(
            f"{where}: a config cannot hold the type {_name(field.type)}; "
            "use numbers, text, lists, mappings or attrs classes of them"
        ) from None
    try:
        default = _default(field)
    except TypeError as error:
        raise PluginError(f"{where}: {error}") from None
    key, required = field.alias or field.name, field.default is NOTHING
    return ClassKey(key, field.name, kind, required, default)


def _annotation(cls: type, field: Attribute[Any]) -> Any:
    """Return a field's type with names looked up where the field was written.

    `attrs.resolve_types` would ask for the names of all annotations of the class.
    """
    owners = (base for base in cls.__mro__ if field.name in inspect.get_annotations(base))
    holder = type("Holder", (), {"__annotations__": {field.name: field.type}})
    names = vars(sys.modules[next(owners, cls).__module__])
    try:
        return get_type_hints(holder, globalns=names)[field.name]
    except NameError as error:
        where = f"{_name(cls)}.{field.name}"
        raise PluginError(
            f"{where}: the type {field.type} needs {error.name!r}, imported outside TYPE_CHECKING"
        ) from None


def limited(kind: Any, limits: Constraints | None = None) -> Any:
    """Return a type whose parts carry their limits as `typing.Annotated`.

    Raises TypeError for types that YAML cannot hold, `PluginError` for broken classes in it.
    """
    origin, arguments, limits = get_origin(kind), get_args(kind), limits or Constraints()
    if origin in (Union, UnionType):
        return Union[tuple(limited(each, limits) for each in arguments)]  # noqa: UP007
    if kind in (Any, object):
        return kind
    if limits.choices is not None and kind is not NoneType:
        kind = Literal[limits.choices]
    if kind in UNLIMITED or get_origin(kind) is Literal:
        return Annotated[kind, Constraints()]
    if kind in LIMITED:
        return Annotated[kind, limits]
    if isinstance(kind, type) and has(kind):
        entries(kind)
        return kind
    return _limited_container(origin or kind, arguments, limits)


def _limited_container(origin: Any, arguments: tuple[Any, ...], limits: Constraints) -> Any:
    if origin in MAPPINGS:
        made: Any = dict[Any, limited(arguments[1] if arguments else Any)]  # type: ignore[misc]
        return Annotated[made, limits]
    if origin not in LISTS:
        raise TypeError(origin)
    if origin is tuple and arguments and arguments[-1] is not Ellipsis:
        parts = tuple(limited(each, limits.items) for each in arguments)
        size = len(parts)
        return Annotated[tuple[parts], evolve(limits, shortest=size, longest=size)]  # type: ignore[valid-type]
    item = limited(arguments[0] if arguments else Any, limits.items)
    made = origin[item] if origin in (list, set, frozenset) else tuple[item, ...]  # type: ignore[valid-type]
    return Annotated[made, limits]


def _default(field: Attribute[Any]) -> Any:
    """Return a field's default as plain values; NOTHING for none, or one that depends on others."""
    factory: Any = field.default
    if not isinstance(field.default, _FACTORY):
        return NOTHING if field.default is NOTHING else plain(field.default)
    return NOTHING if factory.takes_self else plain(factory.factory())


def _name(cls: object) -> str:
    if not isinstance(cls, type):
        return str(cls)
    return f"{cls.__module__}.{cls.__qualname__}".removeprefix("builtins.")

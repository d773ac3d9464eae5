"""Rules for attrs classes: the sections of a config and the options of components."""

from __future__ import annotations

import inspect
import re
import sys
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from attrs import NOTHING, Attribute, Factory, fields, frozen, has

from nodelens.config.constraints import NONE, Constraints, read_constraints
from nodelens.config.containers import ListRule, PositionsRule, TableRule
from nodelens.config.docstrings import attribute_docs, summary
from nodelens.config.plain import is_json, plain
from nodelens.config.raw import KeyPath, Problem
from nodelens.config.rules import (
    INVALID,
    AnythingRule,
    ChoiceRule,
    EitherRule,
    NothingRule,
    NumberRule,
    Rule,
    TextRule,
    TruthRule,
    mismatch,
)
from nodelens.errors import NodelensError, PluginError, did_you_mean

NO_KEYS = "; no options are taken here"
_ANYTHING = (Any, object)
_FACTORY: type = type(Factory(list))
_LISTS = (list, Sequence, Iterable, typing.Collection)


@frozen
class Entry:
    """One key of a mapping that becomes the attribute `name` of an attrs class."""

    key: str
    name: str
    rule: Rule
    required: bool
    default: Any  # Any: plain values, or attrs.NOTHING
    doc: str

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the value, with documentation and default."""
        schema = self.rule.schema()
        if self.doc:
            schema["description"] = self.doc
        if is_json(self.default):
            schema["default"] = self.default
        return schema


@frozen
class RecordRule:
    """A mapping whose keys are the fields of an attrs class."""

    cls: type
    entries: tuple[Entry, ...]

    def words(self, many: bool = False) -> str:
        """Return ``a mapping with the keys a, b``."""
        keys = ", ".join(entry.key for entry in self.entries)
        return f"{'mappings' if many else 'a mapping'} with the keys {keys}"

    def fit(self, value: Any, path: KeyPath, problems: list[Problem]) -> Any:
        """Return the instance; unknown, missing and bad keys are all reported."""
        if not isinstance(value, dict):
            problems.append(mismatch(self, value, path))
            return INVALID
        return self.fit_mapping(value, path, problems)

    def fit_mapping(
        self,
        value: Mapping[str, Any],
        path: KeyPath,
        problems: list[Problem],
        others: Iterable[str] = (),
    ) -> Any:
        """Return the instance; `others` are keys that are known beside the class's own."""
        before = len(problems)
        rules = {entry.key: entry for entry in self.entries}
        values = {}
        for key, item in value.items():
            if key in rules:
                values[key] = rules[key].rule.fit(item, (*path, key), problems)
            else:
                hint = did_you_mean(key, [*rules, *others])
                problems.append(Problem((*path, key), f"unknown key{hint or NO_KEYS}"))
        for entry in self.entries:
            if entry.required and entry.key not in value:
                words = entry.rule.words()
                problems.append(Problem(path, f"the key {entry.key!r} is missing; it is {words}"))
        return INVALID if len(problems) > before else self._built(values, path, problems)

    def _built(self, values: Mapping[str, Any], path: KeyPath, problems: list[Problem]) -> Any:
        try:
            return self.cls(**values)
        except (ValueError, TypeError, NodelensError) as error:
            text = str(error.args[0]) if error.args else type(error).__name__
            named = re.match(r"'?(\w+)'?", text)
            at = (*path, named[1]) if named and named[1] in values else path
            problems.append(Problem(at, text))
            return INVALID

    def values_of(self, instance: object) -> dict[str, Any]:
        """Return the mapping that an instance came from, defaults included, as plain values."""
        return {entry.key: plain(getattr(instance, entry.name)) for entry in self.entries}

    def schema(self) -> dict[str, Any]:
        """Return ``{"type": "object"}`` with every key, its documentation and nothing else."""
        keys = {entry.key: entry.schema() for entry in self.entries}
        schema: dict[str, Any] = {"type": "object", "properties": keys}
        required = [entry.key for entry in self.entries if entry.required]
        if required:
            schema["required"] = required
        if text := summary(self.cls):
            schema["description"] = text
        return schema | {"additionalProperties": False}


def record_rule(cls: type, leave_out: Sequence[str] = ()) -> RecordRule:
    """Return the rule of an attrs class; raises `PluginError` for what a config cannot hold."""
    if not has(cls):
        raise PluginError(f"{_name(cls)} is not an attrs class, so its options cannot be checked")
    docs = attribute_docs(cls)
    used = [field for field in fields(cls) if field.init and field.name not in leave_out]
    return RecordRule(cls, tuple(_entry(cls, field, docs.get(field.name, "")) for field in used))


def _entry(cls: type, field: Attribute[Any], doc: str) -> Entry:
    where = f"{_name(cls)}.{field.name}"
    if field.type is None:
        raise PluginError(f"{where}: the option has no type; annotate it")
    limits = read_constraints(field.validator)
    rule = rule_for(_annotation(cls, field), limits, str(field.metadata.get("expected", "")))
    if rule is None:
        raise PluginError(
            f"{where}: a config cannot hold the type {_name(field.type)}; "
            "use numbers, text, lists, mappings or attrs classes of them"
        )
    try:
        default = _default(field)
    except TypeError as error:
        raise PluginError(f"{where}: {error}") from None
    key = field.alias or field.name
    return Entry(key, field.name, rule, field.default is NOTHING, default, doc)


def _annotation(cls: type, field: Attribute[Any]) -> Any:
    """Return a field's type with names looked up where the field was written."""
    owners = (base for base in cls.__mro__ if field.name in inspect.get_annotations(base))
    holder = type("Holder", (), {"__annotations__": {field.name: field.type}})
    names = vars(sys.modules[next(owners, cls).__module__])
    try:
        return typing.get_type_hints(holder, globalns=names)[field.name]
    except NameError as error:
        where = f"{_name(cls)}.{field.name}"
        raise PluginError(
            f"{where}: the type {field.type} needs {error.name!r}, imported outside TYPE_CHECKING"
        ) from None


def rule_for(annotation: Any, limits: Constraints = NONE, expected: str = "") -> Rule | None:
    """Return the rule of a type with the limits of its validator, or None for unknown types."""
    arguments = typing.get_args(annotation)
    if annotation in (None, types.NoneType):
        return NothingRule()
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        rules = _known(rule_for(argument, limits, expected) for argument in arguments)
        return EitherRule(rules) if rules else None
    if limits.choices is not None or typing.get_origin(annotation) is Literal:
        return ChoiceRule(arguments if limits.choices is None else limits.choices)
    if annotation in _ANYTHING:
        return AnythingRule()
    if annotation is bool:
        return TruthRule()
    if annotation in (int, float):
        return NumberRule(annotation is float, limits)
    if annotation in (str, Path):
        return TextRule(limits, expected, as_path=annotation is Path)
    if isinstance(annotation, type) and has(annotation):
        return record_rule(annotation)
    return _container_rule(typing.get_origin(annotation) or annotation, arguments, limits)


def _container_rule(origin: Any, arguments: Sequence[Any], limits: Constraints) -> Rule | None:
    if origin in (dict, Mapping):
        item = rule_for(arguments[1]) if arguments else AnythingRule()
        return item and TableRule(item)
    if origin is tuple and arguments and arguments[-1] is not Ellipsis:
        rules = _known(rule_for(argument, limits.items or NONE) for argument in arguments)
        return PositionsRule(rules) if rules else None
    if origin in (*_LISTS, tuple, frozenset, set):
        item = rule_for(arguments[0], limits.items or NONE) if arguments else AnythingRule()
        make = origin if origin in (list, frozenset, set) else tuple
        return item and ListRule(item, make, limits)
    return None


def _known(rules: Iterable[Rule | None]) -> tuple[Rule, ...] | None:
    found = tuple(rules)
    known = tuple(rule for rule in found if rule is not None)
    return known if len(known) == len(found) else None


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

"""YAML 1.2 with marks: the core schema's scalars, no duplicate keys, no tags that build objects.

The pure Python parser is used on purpose: configs are short, and its messages and marks are the
same on every machine, with and without libyaml.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import yaml
from attrs import Factory, define

from nodelens.config.raw import KeyPath, Marks, Problem
from nodelens.config.yaml_errors import explain, quotes
from nodelens.errors import ConfigError

TAG = "tag:yaml.org,2002:"
MAX_VALUES = 100_000
MAX_DEPTH = 50
MAX_DIGITS = 100
MAX_CHARACTERS = 1 << 20

SCALARS: tuple[tuple[str, str], ...] = (
    ("null", r"~|null|Null|NULL|"),
    ("bool", r"true|True|TRUE|false|False|FALSE"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
    ),
)
"""Plain scalars that are not text (YAML 1.2.2, section 10.3.2), in the order they are tried."""


class Loader(yaml.SafeLoader):
    """PyYAML's parser with the scalars of YAML 1.2."""

    yaml_implicit_resolvers = {}  # noqa: RUF012  # PyYAML's own way to start from nothing


for _name, _pattern in SCALARS:
    Loader.add_implicit_resolver(TAG + _name, re.compile(rf"(?:{_pattern})\Z"), None)


def parse(text: str, place: Callable[[int], str]) -> tuple[Any, Marks]:
    """Return the value of one YAML document and the marks of everything in it.

    `place` turns a line number, from 1, into what errors and marks show. Raises
    `nodelens.errors.ConfigError` with every mistake.
    """
    if len(text) > MAX_CHARACTERS:
        raise ConfigError([f"{place(1)}: more than {MAX_CHARACTERS:,} characters; divide the file"])
    root = _compose(text, place)
    if root is None:
        return None, Marks({(): place(1)})
    builder = _Builder(place, {(): place(root.start_mark.line + 1)})
    value = builder.build(root, ())
    if builder.problems:
        raise ConfigError(builder.problems)
    return value, Marks(builder.places)


def plain_scalar(text: str) -> Any:
    """Return what a text means in YAML when it is written without quotes."""
    for name, pattern in SCALARS:
        if re.fullmatch(pattern, text):
            return _READERS[name](text)
    return text


def _compose(text: str, place: Callable[[int], str]) -> yaml.Node | None:
    try:
        return Loader(text).get_single_node()
    except yaml.YAMLError as error:
        line, sentence = explain(error, text)
        raise ConfigError([f"{place(line)}: {sentence}"]) from None
    except RecursionError:
        raise ConfigError([f"{place(1)}: the values are nested too deeply to be read"]) from None


@define
class _Builder:
    """Turns PyYAML's nodes into values, collecting marks and mistakes on the way."""

    place: Callable[[int], str]
    places: dict[KeyPath, str]
    problems: list[str] = Factory(list)
    open_nodes: list[yaml.Node] = Factory(list)

    def build(self, node: yaml.Node, path: KeyPath) -> Any:
        if any(node is other for other in self.open_nodes):
            return self._problem(node, path, "an alias inside its own anchor has no end")
        if len(path) > MAX_DEPTH:
            return self._problem(node, (), f"nested more than {MAX_DEPTH} levels deep")
        if len(self.places) > MAX_VALUES:
            raise ConfigError(
                [f"{self.place(1)}: more than {MAX_VALUES:,} values; use fewer aliases"]
            )
        self.open_nodes.append(node)
        try:
            return self._value(node, path)
        finally:
            self.open_nodes.pop()

    def _value(self, node: yaml.Node, path: KeyPath) -> Any:
        if isinstance(node, yaml.MappingNode) and node.tag == TAG + "map":
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == TAG + "seq":
            return self._sequence(node, path)
        if isinstance(node, yaml.ScalarNode) and node.tag.removeprefix(TAG) in _READERS:
            return self._scalar(node, path)
        tag = node.tag.replace(TAG, "!!")
        hint = f"; {quotes(tag)}" if tag[:2] != "!!" else ""
        return self._problem(node, path, f"the tag {tag} is not allowed; write a plain value{hint}")

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        value: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key_node, item in node.value:
            key = self._key(key_node, path)
            if key is None:
                continue
            line = key_node.start_mark.line + 1
            at = (*path, key)
            if key in lines:
                self._problem(key_node, at, f"given twice, first in line {lines[key]}; keep one")
                continue
            lines[key] = line
            self.places[at] = self.place(line)
            value[key] = self.build(item, at)
        return value

    def _key(self, node: yaml.Node, path: KeyPath) -> str | None:
        if not isinstance(node, yaml.ScalarNode):
            self._problem(node, path, "a key must be text, not a list or a mapping")
            return None
        if node.tag != TAG + "str":
            shown = node.value or "(empty)"
            self._problem(node, path, f"the key {shown} is not text; put it in quotes")
            return None
        if node.value == "<<" and node.style is None:
            self._problem(node, path, "'<<' is not part of YAML 1.2; use 'extends' to share values")
            return None
        return str(node.value)

    def _sequence(self, node: yaml.SequenceNode, path: KeyPath) -> list[Any]:
        items = []
        for position, item in enumerate(node.value):
            at = (*path, position)
            self.places[at] = self.place(item.start_mark.line + 1)
            items.append(self.build(item, at))
        return items

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Any:
        kind = node.tag.removeprefix(TAG)
        if kind == "int" and len(node.value) > MAX_DIGITS:
            words = f"a number of {len(node.value):,} digits; at most {MAX_DIGITS} are read"
            return self._problem(node, path, words)
        try:
            return _READERS[kind](node.value)
        except (ValueError, KeyError):
            shown = node.value if len(node.value) <= 40 else node.value[:40] + "…"
            return self._problem(node, path, f"{shown!r} cannot be read as {kind}")

    def _problem(self, node: yaml.Node, path: KeyPath, message: str) -> None:
        line = node.start_mark.line + 1
        self.problems.append(Problem(path, message).line(Marks({(): self.place(line)})))


def _integer(text: str) -> int:
    if text.startswith("0o"):
        return int(text[2:], 8)
    return int(text[2:], 16) if text.startswith("0x") else int(text)


def _float(text: str) -> float:
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


def _null(text: str) -> None:
    if text not in {"", "~", "null", "Null", "NULL"}:
        raise ValueError(text)


_READERS: dict[str, Callable[[str], Any]] = {
    "str": str,
    "null": _null,
    "bool": lambda text: {"true": True, "false": False}[text.lower()],
    "int": _integer,
    "float": _float,
}

"""The options of components: listed for people, and checked against their classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import yaml
from attrs import NOTHING, frozen

from nodelens.config.class_keys import ClassKey, entries
from nodelens.config.docstrings import attribute_docs
from nodelens.config.plain_values import plain
from nodelens.config.words import words
from nodelens.errors import ConfigError

if TYPE_CHECKING:
    from nodelens.config.raw import Problem


@frozen
class OptionField:
    """One option of a component, in words.

    `default` is YAML text, None when the option has to be given, and empty when it depends on
    other options. `doc` is the entry under ``Attributes:`` in the class docstring.
    """

    name: str
    type: str
    default: str | None
    doc: str


def option_fields(cls: type) -> list[OptionField]:
    """Return a component's options in order; raises `PluginError` for a broken class."""
    found, docs = entries(cls), attribute_docs(cls)
    return [
        OptionField(each.key, words(each.kind), _shown(each), docs.get(each.name, ""))
        for each in found
    ]


def structure_options(cls: type, options: Mapping[str, Any], path: str = "") -> object:
    """Return the class built from plain values, after checking every one of them.

    `path` is where the options stand, such as ``metrics.0``, for the error. Raises
    `nodelens.errors.ConfigError` with all problems, `PluginError` for a broken class.
    """
    from nodelens.config.structuring import fit

    entries(cls)
    problems: list[Problem] = []
    keys = tuple(path.split(".")) if path else ()
    built: object = fit(cls, plain(options), keys, problems)
    if problems:
        raise ConfigError([problem.text for problem in problems])
    return built


def _shown(entry: ClassKey) -> str | None:
    if entry.default is NOTHING:
        return None if entry.required else ""
    text: str = yaml.safe_dump(
        entry.default, default_flow_style=True, width=10_000, allow_unicode=True
    )
    return text.removesuffix("...\n").strip()

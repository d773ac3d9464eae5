"""Reading a config: YAML, then what it extends, then the overrides of the command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

from nodelens.config.extends import merge
from nodelens.config.overrides import apply_overrides
from nodelens.config.plain_values import plain
from nodelens.config.raw import UNKNOWN_PLACE, KeyPath, RawConfig
from nodelens.config.yaml12 import MAX_CHARACTERS, parse
from nodelens.errors import ConfigError, did_you_mean


def read_config(path: Path, overrides: Sequence[str] = ()) -> RawConfig:
    """Return the config in a file, with everything it extends and the overrides put on top.

    Nothing but syntax is checked yet. Raises `nodelens.errors.ConfigError`.
    """
    if not path.exists():
        raise ConfigError([f"{path}: there is no such config{_closest(path)}"])
    raw = _inherit(_read(path), path.parent, (path,))
    return apply_overrides(raw, overrides)


def raw_from_mapping(mapping: Mapping[str, Any], overrides: Sequence[str] = ()) -> RawConfig:
    """Return a config that was written in Python; ``extends`` is relative to the current folder.

    Tuples count as lists and other mappings as dicts, as YAML would give them.
    """
    try:
        value = {str(key): plain(item) for key, item in mapping.items()}
    except TypeError as error:
        raise ConfigError([f"{UNKNOWN_PLACE}: {error}"]) from None
    except RecursionError:
        raise ConfigError(
            [f"{UNKNOWN_PLACE}: a value holds itself, or is nested too deeply"]
        ) from None
    return apply_overrides(_inherit(RawConfig(value), Path(), ()), overrides)


def _read(path: Path) -> RawConfig:
    if path.exists() and not path.is_file() and not path.is_dir():
        raise ConfigError([f"{path}: not a regular file (a pipe or a device)"])
    try:
        with path.open(encoding="utf-8-sig") as file:
            text = file.read(MAX_CHARACTERS + 1)
    except UnicodeDecodeError as error:
        message = f"not UTF-8 text (byte {error.start}); save it as UTF-8"
        raise ConfigError([f"{path}: {message}"]) from None
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None
    value, marks = parse(text, lambda line: f"{path}:{line}")
    if value is None:
        raise ConfigError([f"{path}: the file is empty; a config needs 'model:' and 'data:'"])
    if not isinstance(value, dict):
        raise ConfigError([f"{marks.of(())}: a config is a mapping of sections such as 'model: …'"])
    return RawConfig(value, marks)


def _inherit(raw: RawConfig, folder: Path, chain: tuple[Path, ...]) -> RawConfig:
    """Return `raw` on top of the files it extends; `chain` is how this file was reached."""
    if "extends" not in raw.value:
        return raw
    bases = [_base(raw, entry, at, folder, chain) for at, entry in _entries(raw)]
    return reduce(merge, [*bases, raw.without("extends")])


def _entries(raw: RawConfig) -> Iterator[tuple[KeyPath, str]]:
    given = raw.value["extends"]
    listed = isinstance(given, list)
    for position, entry in enumerate(given if listed else [given]):
        at: KeyPath = ("extends", position) if listed else ("extends",)
        if not isinstance(entry, str) or not entry:
            raise ConfigError([f"{raw.marks.of(at)}: extends: expected a path or a list of paths"])
        yield at, entry


def _base(
    raw: RawConfig, entry: str, at: KeyPath, folder: Path, chain: tuple[Path, ...]
) -> RawConfig:
    path, place = folder / entry, raw.marks.of(at)
    if not path.is_file():
        raise ConfigError([f"{place}: extends: there is no file {path}{_closest(path)}"])
    if any(path.resolve() == other.resolve() for other in chain):
        circle = " -> ".join(str(step) for step in (*chain, path))
        raise ConfigError([f"{place}: extends: goes round in a circle: {circle}; take one out"])
    return _inherit(_read(path), path.parent, (*chain, path))


def _closest(path: Path) -> str:
    if not path.parent.is_dir():
        return f"; there is no folder {path.parent}"
    return did_you_mean(path.name, (file.name for file in path.parent.glob("*.y*ml")))

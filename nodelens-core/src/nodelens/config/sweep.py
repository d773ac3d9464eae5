"""Sweeps: one config that stands for the product of several runs."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from nodelens.config.overrides import Override, assign
from nodelens.config.raw import Problem, RawConfig
from nodelens.errors import ConfigError

MAX_RUNS = 1000
FIXED = ("plugins", "extends", "sweep")
"""Keys that are read once for all runs and cannot differ between them."""


def expand(raw: RawConfig) -> list[RawConfig]:
    """Return one config per point of ``sweep:``, the last key turning fastest; else `raw` alone.

    Every run gets a name that tells its point: ``digits-epochs_5-seed_0``. Raises
    `nodelens.errors.ConfigError` for empty lists, paths that lead nowhere and too many runs.
    """
    if raw.value.get("sweep") is None:
        return [raw.without("sweep")]
    axes = _axes(raw)
    base = raw.without("sweep")
    points = product(*(range(len(values)) for values in axes.values()))
    labels = _labels(axes)
    return [_run(base, raw, labels, dict(zip(axes, point, strict=True))) for point in points]


def _axes(raw: RawConfig) -> dict[str, list[Any]]:
    axes = raw.value["sweep"]
    problems = [*_problems(axes)]
    if not problems and (runs := math.prod(len(values) for values in axes.values())) > MAX_RUNS:
        message = f"makes {runs:,} runs; at most {MAX_RUNS:,} are allowed, so sweep over less"
        problems = [Problem(("sweep",), message)]
    if problems:
        raise ConfigError([problem.line(raw.marks) for problem in problems])
    return dict(axes)


def _problems(axes: Any) -> list[Problem]:
    if not isinstance(axes, dict) or not axes:
        return [Problem(("sweep",), "expected a mapping such as {seed: [0, 1, 2]}")]
    problems = []
    for key, values in axes.items():
        if key.split(".")[0] in FIXED:
            problems.append(Problem(("sweep", key), "is the same for all runs of a sweep"))
        elif not isinstance(values, list) or not values:
            problems.append(Problem(("sweep", key), "expected a list with at least one value"))
    return problems


def _run(
    base: RawConfig, raw: RawConfig, labels: Mapping[str, Sequence[str]], point: Mapping[str, int]
) -> RawConfig:
    config = base
    for key, position in point.items():
        at = ("sweep", key, position)
        marks = {(): raw.marks.of(at), **raw.marks.under(at)}
        value = raw.value["sweep"][key][position]
        config = _assigned(config, Override(tuple(key.split(".")), value, marks), key)
    steps = [labels[key][position] for key, position in point.items() if key != "name"]
    suffix = "".join(f"-{step}" for step in steps)
    name = config.value.get("name", "run")
    if isinstance(name, str):  # anything else is reported by the check
        config = RawConfig({**config.value, "name": name + suffix}, config.marks)
    return config


def _assigned(config: RawConfig, override: Override, key: str) -> RawConfig:
    try:
        return assign(config, override)
    except ConfigError as error:
        place = f"{override.place}: "
        problems = [f"{place}sweep.{key}: {line.removeprefix(place)}" for line in error.problems]
        raise ConfigError(problems) from None


def _labels(axes: Mapping[str, Sequence[Any]]) -> dict[str, list[str]]:
    """Return, for every key, what each of its values adds to the run's name."""
    last = [key.split(".")[-1] for key in axes]
    labels = {}
    for key, values in axes.items():
        short = key.split(".")[-1]
        stem = short if last.count(short) == 1 else key
        texts = [_text(value) for value in values]
        if len(set(texts)) < len(texts) or not all(0 < len(text) <= 24 for text in texts):
            texts = [str(position) for position in range(len(values))]
        labels[key] = [f"{_safe(stem)}_{text}" for text in texts]
    return labels


def _text(value: Any) -> str:
    """Return a value as a part of a file name, or nothing when it has no short form."""
    if isinstance(value, dict):
        value = value.get("name", "")
    if isinstance(value, list) and not all(isinstance(item, int | float | str) for item in value):
        return ""
    parts = value if isinstance(value, list) else [value]
    plain = "_".join(str(part).lower() if isinstance(part, bool) else str(part) for part in parts)
    return _safe(plain) if value is not None else "null"


def _safe(text: str) -> str:
    return re.sub(r"[^\w.-]+", "_", text, flags=re.ASCII)

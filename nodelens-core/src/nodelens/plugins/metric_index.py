"""The metrics of a package, read from the sources without importing a module of the package."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from nodelens.errors import PluginError
from nodelens.plugins.specs import MetricSpec

_CLASS = re.compile(r"^class (\w+).*(?:\n(?:[ \t)].*)?)*", re.MULTILINE)
"""A class at the top level, with its body: lines that are blank or indented."""
_SUMMARY = re.compile(r'r?"""\s*(.+?)\s*(?:"""|\n)')
_INFO = re.compile(
    r"\n    (?:info(?:: [^\n=]+)? = |def info\().*(\n {5,}\S.*|\n *$)*", re.MULTILINE
)
_SCORE = re.compile(r"\n    def score\(")
_NAME = re.compile(r'\bname="(\w+)"')
_WORD = re.compile(r"(?<=[a-z])(?=[A-Z0-9])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[0-9])(?=[A-Z])")


def metric_name(class_name: str) -> str:
    """Return a metric's name from its class: ``ActivationRMS`` gives ``activation_rms``."""
    return _WORD.sub("_", class_name).lower()


def metrics_in(package: str) -> list[MetricSpec]:
    """Find the metrics of a package by reading the sources of its modules.

    A metric is a class at the top level of a module that begins with a docstring and has
    ``info = MetricInfo(...)``, or a method `score` and an `info` that is made otherwise. The name
    follows from the class name, or is what ``name="..."`` says there; the summary is the first line
    of the docstring; the family is the last part of the package's name. Modules of packages within
    the package are not read.

    Args:
        package: the dotted name of the package, such as ``__package__`` of its ``plugin.py``.

    Returns:
        One specification for each metric, by module and place in the module.

    Raises:
        PluginError: for a package without sources, or without a metric in them, and for a class
            that has a score and statistics and no `info` of its own.

    Example:
        ::

            @hookimpl
            def nodelens_register_metrics():
                return metrics_in(__package__)
    """
    found = [spec for module, text in _sources(package) for spec in _metrics(module, text)]
    if not found:
        raise PluginError(f"no class in {package} has info = MetricInfo(...)")
    return found


def _sources(package: str) -> Iterator[tuple[str, str]]:
    """Yield the dotted name and the text of each module of a package."""
    parent = sys.modules.get(package) or import_module(package)
    for folder in parent.__path__:
        for path in sorted(Path(folder).glob("*.py")):
            yield f"{package}.{path.stem}", path.read_text(encoding="utf-8", errors="replace")


def _metrics(module: str, text: str) -> Iterator[MetricSpec]:
    """Yield one specification for each class of a module that has an `info`.

    Raises `PluginError` for a class that scores statistics and has none that can be read.
    """
    for found in _CLASS.finditer(text):
        body, scores = found[0], _SCORE.search(found[0])
        info = _INFO.search(body)
        if info and (scores or "MetricInfo(" in info[0]):
            yield _spec(module, found[1], body, info)
        elif scores and "\n    statistics" in body and not found[1].startswith("_"):
            raise PluginError(
                f"{module}: {found[1]} has score and statistics, and its info is not in the class; "
                "write info = MetricInfo(...) there, or offer it with a MetricSpec of its own"
            )


def _spec(module: str, name: str, body: str, info: re.Match[str]) -> MetricSpec:
    given = _NAME.search(info[0])
    summary = _SUMMARY.search(body, len(name), info.start())
    return MetricSpec(
        name=given[1] if given else metric_name(name),
        target=f"{module}:{name}",
        summary=summary[1].strip() if summary else name,
        family=module.split(".")[-2],
    )

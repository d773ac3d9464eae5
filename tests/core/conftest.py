"""Fake distributions: plugins as pip would install them, made in a temporary folder."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest

Distribution = Callable[..., Path]


@pytest.fixture
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Distribution]:
    """Return a function that installs a plugin and returns the folder that is on `sys.path`."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    before = set(sys.modules)

    def install(
        name: str, source: str = "", *, version: str = "1.0", entries: str | None = None
    ) -> Path:
        module = name.replace("-", "_")
        (site / f"{module}.py").write_text(HEAD + dedent(source), encoding="utf-8")
        info = site / f"{module}-{version}.dist-info"
        info.mkdir()
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        (info / "METADATA").write_text(metadata, encoding="utf-8")
        lines = f"main = {module}" if entries is None else entries
        (info / "entry_points.txt").write_text(f"[nodelens.plugins]\n{lines}\n", encoding="utf-8")
        return site

    yield install
    for module in set(sys.modules) - before:
        if str(site) in str(getattr(sys.modules[module], "__file__", "")):
            del sys.modules[module]


HEAD = """\
from nodelens import hookimpl
from nodelens.plugins.specs import CommandSpec, MetricSpec, ReportSpec
"""

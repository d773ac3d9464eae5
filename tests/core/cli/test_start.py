"""The program as a process: what it imports, how fast it starts, where its output goes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = [
    "torch",
    "numpy",
    "scipy",
    "sklearn",
    "matplotlib",
    "pandas",
    "PIL",
    "rich",
    "jinja2",
    "transformers",
]
LIGHT_COMMANDS = {
    "nothing": [],
    "help": ["--help"],
    "version": ["--version"],
    "plugins": ["plugins"],
    "check of plugins": ["plugins", "--check"],
    "metrics": ["metrics"],
    "a backend": ["backends", "cnn"],
    "config check": ["config", "check", "small.yaml"],
    "config show": ["config", "show", "small.yaml"],
    "config schema": ["config", "schema"],
}
WATCH = """
import sys
from nodelens.cli.main import main
code = main({args!r})
heavy = sorted(set({heavy!r}) & set(sys.modules))
sys.exit(f"{{code}} {{heavy}}")
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder with one config."""
    (tmp_path / "small.yaml").write_text("model: mlp\ndata: digits\nmetrics: []\n")
    monkeypatch.chdir(tmp_path)


def python(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **environment}
    command = [sys.executable, *args]
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False)


def test_a_pattern_imports_only_the_metrics_that_it_matches(tmp_path):
    (tmp_path / "acme.py").write_text(OFFER)
    info = tmp_path / "acme-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[nodelens.plugins]\nmain = acme\n")
    for name in ("peak", "tail"):
        (tmp_path / f"acme_{name}.py").write_text(METRIC)
    (tmp_path / "small.yaml").write_text("model: mlp\ndata: digits\nmetrics: ['peak*']\n")
    args = ["config", "check", "small.yaml"]
    done = python("-c", "import sys; sys.path.insert(0, '.')" + IMPORTED.format(args=args))
    assert done.stderr.splitlines()[-1] == "0 ['acme_peak']", done.stderr


OFFER = """
from nodelens import hookimpl
from nodelens.plugins.specs import MetricSpec

@hookimpl
def nodelens_register_metrics():
    names = ("peak", "tail")
    return [MetricSpec(name, f"acme_{name}:Metric", "A metric.") for name in names]
"""
METRIC = """
from attrs import frozen

@frozen
class Metric:
    better, unit, formula, source = "high", "1", "a", "common"
    invariances, dead = frozenset(), "any"
    def needs(self): return ()
    def score(self, group): raise NotImplementedError
"""
IMPORTED = """
from nodelens.cli.main import main
code = main({args!r})
sys.exit(f"{{code}} {{sorted(name for name in sys.modules if name.startswith('acme_'))}}")
"""


@pytest.mark.parametrize("args", LIGHT_COMMANDS.values(), ids=LIGHT_COMMANDS)
def test_nothing_heavy_is_imported(args):
    done = python("-c", WATCH.format(args=args, heavy=HEAVY))
    code, _, heavy = done.stderr.splitlines()[-1].partition(" ")
    assert heavy == "[]"
    assert code in ("0", "1" if "--check" in args else "0")


@pytest.mark.parametrize("args", [["--help"], ["metrics"], ["backends", "cnn"], ["plugins"]])
def test_what_structures_nothing_imports_no_converter(args):
    done = python("-c", WATCH.format(args=args, heavy=["cattrs"]))
    assert done.stderr.splitlines()[-1] == "0 []"


def test_importing_nodelens_imports_nothing():
    heavy = {*HEAVY, "pluggy", "attrs", "cattrs", "click"}
    done = python("-c", f"import sys, nodelens; print(sorted({heavy!r} & set(sys.modules)))")
    assert done.stdout == "[]\n"


def test_the_module_is_the_same_program():
    done = python("-m", "nodelens", "runs", "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: nodelens runs ")


def test_exit_codes_reach_the_shell():
    done = python("-m", "nodelens", "runz")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: there is no command 'runz'")


def test_a_terminal_gets_escapes_for_characters_that_it_lacks(tmp_path):
    (tmp_path / "bad.yaml").write_text("modΣl: mlp\n", encoding="utf-8")
    done = python("-m", "nodelens", "config", "check", "bad.yaml", PYTHONIOENCODING="latin-1")
    assert done.returncode == 2
    assert r"mod\u03a3l: unknown key" in done.stderr


def test_a_reader_that_goes_away_is_no_error():
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "nodelens", "backends"],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    os.close(writer)
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr
    assert done.returncode == 1

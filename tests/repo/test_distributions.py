"""The shape of the repository: four distributions, one version, imports in one direction."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMES = ("core", "metrics", "pruning", "hf")
PACKAGES = {"core": "nodelens", **{n: f"nodelens_{n}" for n in NAMES if n != "core"}}


def project(name: str) -> dict:
    return tomllib.loads((ROOT / f"nodelens-{name}/pyproject.toml").read_text())["project"]


def python(*arguments: str, cwd: Path = ROOT) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_a_distribution_is_complete(name):
    folder = ROOT / f"nodelens-{name}"
    for file in ("pyproject.toml", "README.md", "LICENSE", f"src/{PACKAGES[name]}/py.typed"):
        assert (folder / file).is_file(), file
    described = project(name)
    assert described["license"] == "MIT"
    assert described["entry-points"]["nodelens.plugins"]


def test_all_have_one_version():
    assert len({project(name)["version"] for name in NAMES}) == 1


@pytest.mark.parametrize("name", [name for name in NAMES if name != "core"])
def test_siblings_depend_on_a_core_that_fits_and_not_on_each_other(name):
    described = project(name)
    ours = [need for need in described["dependencies"] if need.startswith("nodelens")]
    assert ours == [f"nodelens-core~={described['version']}"]


def test_imports_keep_to_the_layers_and_make_no_circles():
    run = "from importlinter.cli import lint_imports_command as run; run()"
    code, output = python("-c", run, "--no-cache")
    assert code == 0, output


@pytest.mark.parametrize("name", NAMES)
def test_every_import_is_declared_and_every_dependency_used(name):
    code, output = python("-m", "deptry", "src", cwd=ROOT / f"nodelens-{name}")
    assert code == 0, output


def test_constraints_pin_every_dependency():
    pinned = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    for name in NAMES:
        described = project(name)
        extras = [
            need for group in described.get("optional-dependencies", {}).values() for need in group
        ]
        for need in [*described["dependencies"], *extras]:
            base = need.split("[")[0].split(">")[0].split("=")[0].strip().lower()
            assert base.startswith("nodelens") or base in pinned, need

"""The shape of the repository: four distributions, one version, imports in one direction."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMES = ("core", "metrics", "pruning", "hf")
PACKAGES = {"core": "nodelens", **{n: f"nodelens_{n}" for n in NAMES if n != "core"}}


def project(name: str) -> dict:
    return tomllib.loads((ROOT / f"nodelens-{name}/pyproject.toml").read_text())["project"]


def modules(name: str) -> list[Path]:
    return sorted((ROOT / f"nodelens-{name}/src/{PACKAGES[name]}").rglob("*.py"))


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def imports_below(path: Path, prefix: str) -> set[str]:
    return {name for name in imported(path) if name == prefix or name.startswith(prefix + ".")}


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
def test_siblings_depend_on_the_core_of_their_own_version_and_not_on_each_other(name):
    described = project(name)
    ours = [need for need in described["dependencies"] if need.startswith("nodelens")]
    assert ours == [f"nodelens-core=={described['version']}"]


@pytest.mark.parametrize("name", NAMES)
def test_no_distribution_imports_a_sibling(name):
    others = [PACKAGES[other] for other in NAMES if other not in (name, "core")]
    for path in modules(name):
        for other in others:
            assert not imports_below(path, other), path


UPPER = {
    "nodelens.cli": ("cli", "__main__.py"),
    "nodelens.api": ("cli", "__init__.py", "api.py"),
    "nodelens.experiments.run": ("cli", "api.py", "experiments"),
    "nodelens.experiments.stages": ("experiments",),
    "nodelens.experiments.setup": ("cli", "experiments"),
}


@pytest.mark.parametrize("layer", UPPER)
def test_lower_layers_do_not_import_upper_ones(layer):
    root = ROOT / "nodelens-core/src/nodelens"
    for path in modules("core"):
        first = path.relative_to(root).parts[0]
        if first not in UPPER[layer]:
            assert not imports_below(path, layer), path


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

"""The shape of the repository: four distributions, one version, imports in one direction."""

from __future__ import annotations

import ast
import re
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
def test_siblings_depend_on_a_core_that_fits_and_not_on_each_other(name):
    described = project(name)
    ours = [need for need in described["dependencies"] if need.startswith("nodelens")]
    assert ours == [f"nodelens-core~={described['version']}"]


@pytest.mark.parametrize("name", NAMES)
def test_no_distribution_imports_a_sibling(name):
    others = [PACKAGES[other] for other in NAMES if other not in (name, "core")]
    for path in modules(name):
        for other in others:
            assert not imports_below(path, other), path


LAYERS = [
    {"errors", "seeding", "progress", "version"},
    {"plugins", "config", "storage"},
    {"channels"},
    {"statistics"},
    {"capture", "masks", "removal", "data", "models"},
    {"scoring", "training"},
    {"analyses", "interventions", "recovery", "reports"},
    {"experiments", "testing"},
    {"api", "arguments", "own_model"},
    {"cli"},
]
"""From the lowest: a module imports from its own layer and from lower ones."""

CONTRACTS = re.compile(r"nodelens\.(\w+\.contract|reports\.parts|experiments\.pruning)")
"""Plain values and protocols, which any layer may speak of."""

EXEMPT = {
    "channels/groups.py": "the methods mask, remove and verify of a graph are for convenience",
    "plugins/builtin.py": "names what the core offers and answers its own hooks",
    "plugins/manager.py": "gives hooks their types",
    "plugins/hookspecs.py": "gives hooks their types",
}


def rank(name: str) -> int:
    return next(place for place, layer in enumerate(LAYERS) if name in layer)


def test_every_package_has_a_layer():
    root = ROOT / "nodelens-core/src/nodelens"
    found = {path.stem for path in root.iterdir() if not path.name.startswith(("_", "py.typed"))}
    assert found == set().union(*LAYERS)


@pytest.mark.parametrize("path", modules("core"), ids=lambda path: "/".join(path.parts[-2:]))
def test_imports_go_down(path):
    relative = path.relative_to(ROOT / "nodelens-core/src/nodelens")
    first = relative.parts[0].removesuffix(".py")
    if first.startswith("__") or str(relative) in EXEMPT:
        return
    for name in sorted(imports_below(path, "nodelens")):
        parts = name.split(".")
        if len(parts) > 1 and not CONTRACTS.fullmatch(name):
            assert rank(parts[1]) <= rank(first), f"{relative} imports {name}"


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

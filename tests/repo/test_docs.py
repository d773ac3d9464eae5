"""Every snippet of every README and page is run."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from nodelens.cli.main import main
from nodelens.config.check import check_config
from nodelens.config.load import read_config
from nodelens.config.sweep import expand
from nodelens.plugins.manager import load_plugins

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for pattern in ("README.md", "docs/*.md", "nodelens-*/README.md", "nodelens-*/docs/*.md")
    for path in ROOT.glob(pattern)
)
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def fences(language: str) -> list:
    return [
        pytest.param(text, id=f"{page.relative_to(ROOT)}:{number}")
        for page in PAGES
        for number, (kind, text) in enumerate(FENCE.findall(page.read_text()))
        if kind == language
    ]


@pytest.mark.parametrize("code", fences("python"))
def test_python_snippets_run(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT / "projects/plugin_template/src"))
    exec(compile(code, "<snippet>", "exec"), {"__name__": "snippet"})


@pytest.mark.parametrize("text", fences("yaml"))
def test_whole_configs_in_the_pages_are_right(text, tmp_path):
    if not re.search(r"^model:", text, re.MULTILINE):
        text = f"model: mlp\n{text}"
    if not re.search(r"^(data|extends):", text, re.MULTILINE):
        text = f"data: digits\n{text}"
    (tmp_path / "config.yaml").write_text(text)
    (tmp_path / "digits.yaml").write_text((ROOT / "configs/digits.yaml").read_text())
    registry = load_plugins().registry
    for point in expand(read_config(tmp_path / "config.yaml")):
        check_config(point, registry)


def commands() -> list:
    lines = [
        line.removeprefix("$ ").split("#")[0].strip()
        for page in PAGES
        for kind, text in FENCE.findall(page.read_text())
        if kind in ("console", "bash", "sh")
        for line in text.splitlines()
        if line.removeprefix("$ ").startswith("nodelens ")
    ]
    return list(dict.fromkeys(lines))


@pytest.mark.parametrize("line", commands())
def test_commands_in_the_pages_run(line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    run = "outputs/digits/20260101-000000"
    arguments = shlex.split(line)[1:]
    if "latest" in arguments or any(run in part for part in arguments):
        assert main(["-q", "run", "configs/minimal.yaml", "training.epochs=1"]) == 0
    assert main(arguments) == 0, capsys.readouterr().err


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_design_names_every_package_of_the_core():
    table = (ROOT / "nodelens-core/docs/design.md").read_text().split("## Where is what")[1]
    named = set(re.findall(r"`(\w+)/?`", table.split("Evaluations")[0]))
    core = ROOT / "nodelens-core/src/nodelens"
    packages = {path.parent.name for path in core.glob("*/__init__.py")}
    modules = {path.stem for path in core.glob("[!_]*.py")}
    assert packages | modules <= named


def test_the_paths_in_the_map_for_contributors_are_there():
    page = (ROOT / "docs/contributing.md").read_text()
    core = ROOT / "nodelens-core/src"
    paths = re.findall(r"`((?:nodelens|tests|projects)[\w-]*/[\w./-]+)`", page)
    assert paths
    assert [each for each in paths if not ((ROOT / each).exists() or (core / each).exists())] == []


def test_the_layers_for_contributors_are_those_that_are_checked():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    layers = settings["tool"]["importlinter"]["contracts"][0]["layers"]
    lines = "\n".join(layer.replace(" : ", ", ") for layer in layers)
    assert f"```text\n{lines}\n```" in (ROOT / "docs/contributing.md").read_text()

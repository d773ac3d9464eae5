"""The template works as it stands, and the page that explains it shows its very files."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "projects/plugin_template"
PAGE = (ROOT / "nodelens-metrics/docs/metrics.md").read_text(encoding="utf-8")


def test_its_own_tests_pass():
    path = os.pathsep.join([str(TEMPLATE / "src"), *filter(None, sys.path)])
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-c",
            "pyproject.toml",
            "tests",
        ],
        cwd=TEMPLATE,
        env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def test_its_entry_point_names_its_plugin_module():
    project = tomllib.loads((TEMPLATE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module = project["entry-points"]["nodelens.plugins"]["example"]
    assert (TEMPLATE / "src" / f"{module.replace('.', '/')}.py").is_file()


SHOWN = [
    "src/nodelens_example_metric/mean_peak.py",
    "src/nodelens_example_metric/plugin.py",
    "tests/test_mean_peak.py",
]


@pytest.mark.parametrize("name", SHOWN)
def test_the_page_shows_the_file(name):
    blocks = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    assert (TEMPLATE / name).read_text(encoding="utf-8") in blocks

"""The README's commands, in a fresh clone and a fresh environment."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def command(marker: str) -> str:
    found = re.search(
        rf"<!-- {marker} -->\n```console\n(.*?)\n```", (ROOT / "README.md").read_text(), re.DOTALL
    )
    assert found, marker
    return found[1]


@pytest.mark.slow
def test_the_main_command_works_in_a_fresh_clone(tmp_path):
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command("main-command")],
        cwd=clone,
        env={**os.environ, "PIP_NO_COMPILE": "false"},  # "false" is how pip takes --no-compile here
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "digits: finished" in done.stdout


def test_the_test_command_is_what_ci_calls():
    assert "pytest" in command("test-command")
    assert "test-command" in (ROOT / ".ci/run").read_text()


def test_the_example_metric_is_the_template():
    template = ROOT / "projects/plugin_template/src/nodelens_example_metric/mean_peak.py"
    body = template.read_text().split("@frozen", 1)[1]
    squeezed = re.sub(r"\s+", " ", body).strip()
    assert squeezed in re.sub(r"\s+", " ", (ROOT / "README.md").read_text())

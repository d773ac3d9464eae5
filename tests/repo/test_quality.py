"""Formatting, lint and types, as part of the test command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def tool(*arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("arguments", [("ruff", "check", "."), ("ruff", "format", "--check", ".")])
def test_ruff(arguments):
    code, output = tool(*arguments)
    assert code == 0, output


@pytest.mark.slow
def test_mypy_strict_on_all_four_packages():
    code, output = tool("mypy")
    assert code == 0, output


def test_no_open_ends_in_the_sources():
    marks = ("TO" + "DO", "FIX" + "ME", "X" + "XX")
    for path in ROOT.glob("nodelens-*/src/**/*.py"):
        text = path.read_text()
        assert not any(mark in text for mark in marks), path


def test_no_pickle_in_the_sources():
    for path in ROOT.glob("nodelens-*/src/**/*.py"):
        text = path.read_text()
        assert "import pickle" not in text, path
        assert "torch.load(" not in text, path
        assert "torch.save(" not in text, path

"""Running the program inside the test's own process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import frozen

from nodelens.cli.main import main


@frozen
class Outcome:
    """What a command gave."""

    code: int
    out: str
    err: str


Program = Callable[..., Outcome]


@pytest.fixture
def nodelens(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Program:
    """Return a function that runs the program with arguments, in an empty folder."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("NODELENS_BLOCK_PLUGINS", raising=False)

    def run(*args: str) -> Outcome:
        capsys.readouterr()
        code = main(list(args))
        return Outcome(code, *capsys.readouterr())

    return run

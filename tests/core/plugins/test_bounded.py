"""Plugins that end, hang or are interrupted while they are imported."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest

from nodelens.errors import PluginError
from nodelens.plugins import bounded


def test_code_that_takes_long_is_named_while_it_runs(monkeypatch, capsys):
    monkeypatch.setattr(bounded, "PATIENCE", 0.05)
    with bounded.bounded("loading plugin acme:main", "leave it out with --no-plugin acme:main"):
        for _ in range(100):
            time.sleep(0.01)
            told = capsys.readouterr().err
            if told:
                break
    assert told == (
        "warning: loading plugin acme:main takes more than 0.05 s; leave it out with "
        "--no-plugin acme:main\n"
    )


def test_code_that_is_quick_is_not_named(monkeypatch, capsys):
    monkeypatch.setattr(bounded, "PATIENCE", 0.05)
    with bounded.bounded("loading", "wait"):
        pass
    time.sleep(0.1)
    assert not capsys.readouterr().err


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit("x")])
def test_what_code_raises_is_its_own_fault(error):
    with (
        pytest.raises(PluginError, match=type(error).__name__),
        bounded.bounded("loading", "wait"),
    ):
        raise error


def test_errors_of_code_are_as_they_were():
    with pytest.raises(ZeroDivisionError), bounded.bounded("loading", "wait"):
        raise ZeroDivisionError


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_an_interrupt_by_the_user_passes():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), bounded.bounded("loading", "wait"):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)
    assert signal.getsignal(signal.SIGINT) is before

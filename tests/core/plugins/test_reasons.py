"""Exceptions as one line."""

from __future__ import annotations

import pytest

from nodelens.errors import PluginError
from nodelens.plugins.reasons import LONGEST, reason


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (PluginError("as it\nis"), "as it is"),
        (ValueError("bad"), "ValueError: bad"),
        (ValueError("first", object(), 3), "ValueError: first"),
        (KeyError("key"), "KeyError: key"),
        (OSError(2, "No such file"), "FileNotFoundError: [Errno 2] No such file"),
        (RuntimeError(), "RuntimeError"),
        (
            ModuleNotFoundError("No module named 'x'", name="x"),
            "needs the module 'x', which is not installed",
        ),
        (ImportError("cannot import name 'y'"), "ImportError: cannot import name 'y'"),
    ],
)
def test_an_error_is_one_line(error, text):
    assert reason(error) == text


def test_a_long_reason_is_cut():
    assert len(reason(ValueError("x" * 1000))) == LONGEST

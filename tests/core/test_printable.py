"""No text of a run reaches a terminal, a log or a report with control characters."""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import nodelens.cli
from nodelens.cli.main import main
from nodelens.errors import ConfigError, DataError
from nodelens.findings.finding import Bars, Finding, Line, LinePlot, Table
from nodelens.printable import printable
from nodelens.reports.csv_text import csv_text
from nodelens.reports.page import write_page
from nodelens.reports.tables import to_latex
from nodelens.storage.run_folder import RunFolder

CONTROL = "".join(map(chr, [*range(9), *range(11, 32), *range(127, 160)]))
EVIL = f"a\x1b[31m{CONTROL}b"


def controls(text: str) -> set[str]:
    return {each for each in text if unicodedata.category(each) == "Cc"} - {"\n", "\t"}


@given(st.text())
def test_nothing_but_control_characters_is_changed(text):
    shown = printable(text)
    assert not controls(shown)
    if not controls(text):
        assert shown == text


@given(st.text())
def test_escapes_of_json_mean_the_same_characters(text):
    assert json.loads(printable(json.dumps(text, ensure_ascii=False))) == text


def test_commands_print_by_the_one_function():
    found = [
        path.name
        for path in Path(nodelens.cli.__path__[0]).glob("*.py")
        if re.search(r"click\.s?echo\(|\bprint\(", path.read_text())
    ]
    assert found == ["layout.py"]


@pytest.mark.parametrize("error", [DataError(EVIL), ConfigError([EVIL])])
def test_errors_are_printable(error):
    assert str(error).startswith("a\\u001b[31m")
    assert not controls(str(error))


@pytest.mark.parametrize("command", ["run", "report", "plan"])
def test_names_on_the_command_line_are_printable(command, capsys):
    assert main([command, EVIL.replace("\0", "")]) == 2
    said = capsys.readouterr()
    assert "\\u001b[31m" in said.err
    assert not controls(said.err.replace("\x1b[31merror: \x1b[0m", "") + said.out)


def evil_run(root: Path) -> RunFolder:
    run = RunFolder.create(root, EVIL)
    line = Line(EVIL, (0.0, 1.0), (0.0, 1.0))
    plots = (
        LinePlot("lines", EVIL, EVIL, EVIL, (line, line), EVIL),
        Bars("bars", EVIL, EVIL, (EVIL,), (1.0,)),
    )
    table = Table("table", EVIL, (EVIL, EVIL), ((EVIL, 1.0),), EVIL)
    run.write_finding(Finding("analysis", "x", EVIL, (EVIL,), (EVIL,), (table,), plots))
    run.update_record(status="failed", error=EVIL, warnings=(EVIL,), device=EVIL)
    run.write_text("config.yaml", EVIL)
    return run


def test_pages_tables_and_figures_hold_no_control_characters(tmp_path):
    run = evil_run(tmp_path)
    for path in write_page(run, ("svg",)):
        assert not controls(path.read_text()), path
        assert "u001b" in path.read_text(), path


def test_listings_hold_no_control_characters(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    evil_run(Path("outputs"))
    for command in (["runs"], ["runs", "--json"]):
        assert main(command) == 0
        out = capsys.readouterr().out
        assert "u001b" in out
        assert not controls(out)


@given(st.lists(st.lists(st.text() | st.none(), min_size=2, max_size=2), max_size=4))
def test_no_cell_is_a_formula_and_every_text_comes_back(rows):
    text = csv_text(["=a", "b"], [tuple(row) for row in rows])
    head, *read = csv.reader(io.StringIO(text, newline=""), strict=True)
    assert head == ["'=a", "b"]
    for row, cells in zip(rows, read, strict=True):
        for cell, shown in zip(row, cells, strict=True):
            assert not shown.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
            assert shown.removeprefix("'") == (cell or "")


def test_numbers_keep_their_sign():
    assert csv_text(["x"], [(-1.5,), ("-1.5",)]) == "x\n-1.5\n'-1.5\n"


def test_latex_shows_escapes():
    text = to_latex(Table("t", EVIL, (EVIL,), ((EVIL,),)))
    assert not controls(text)
    assert r"a\textbackslash{}u001b[31m" in text

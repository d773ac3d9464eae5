import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodelens.errors import RunError
from nodelens.findings.finding import (
    Bars,
    Finding,
    Heatmap,
    Line,
    LinePlot,
    ScatterPlot,
    Series,
    Table,
)
from nodelens.findings.finding_json import finding_from_json, finding_to_json
from nodelens.storage.strict_json import from_text, to_text

text = st.text(max_size=8)
number = st.floats(allow_nan=False, allow_infinity=False)


def row(of):
    return st.lists(of, max_size=3).map(tuple)


cells = st.none() | st.booleans() | st.integers() | number | text
tables = st.builds(Table, text, text, row(text), row(row(cells)), text)
style = st.sampled_from(["solid", "dashed", "dotted"])
lines = st.builds(Line, text, row(number), row(number), row(number), row(number), style)
series = st.builds(Series, text, row(number), row(number), row(number))
ends = row(st.none() | number)
limits = st.none() | st.tuples(number, number)
matrix = row(row(st.none() | number))
plots = st.one_of(
    st.builds(LinePlot, text, text, text, text, row(lines), text, st.booleans()),
    st.builds(Heatmap, text, text, row(text), row(text), matrix, text, limits),
    st.builds(ScatterPlot, text, text, text, text, row(series), text, st.booleans(), st.booleans()),
    st.builds(Bars, text, text, text, row(text), row(number), ends, ends, text),
)
data = st.dictionaries(text, st.lists(number, max_size=3) | cells, max_size=3)
findings = st.builds(Finding, text, text, text, row(text), row(text), row(tables), row(plots), data)


@given(findings)
def test_findings_come_back_equal(finding):
    stored = to_text(finding_to_json(finding), "x")
    assert finding_from_json(from_text(stored, "x"), "x") == finding


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda value: None, "not a finding"),
        (lambda value: [], "not a finding"),
        (lambda value: value | {"surprise": 1}, "surprise: unknown key"),
        (
            lambda value: {key: item for key, item in value.items() if key != "tables"},
            "not a finding: no 'tables'",
        ),
        (
            lambda value: value | {"plots": [{"type": "PieChart"}]},
            "plots.0: expected a mapping with the keys ",
        ),
        (lambda value: value | {"plots": [3]}, "plots.0: expected a mapping with the keys "),
        (
            lambda value: value | {"plots": [{"type": "Bars", "name": "x"}]},
            "plots.0: the key 'title' is missing",
        ),
    ],
)
def test_anything_else_is_refused(damage, message):
    stored = finding_to_json(Finding("analysis", "x", "X"))
    with pytest.raises(RunError, match=rf"^x\.json: {message}.* damaged after the run wrote it$"):
        finding_from_json(damage(stored), "x.json")


@pytest.mark.parametrize("found", [None, 1, 3, "2"])
def test_a_finding_of_another_format_is_refused(found):
    stored = finding_to_json(Finding("analysis", "x", "X")) | {"format": found}
    text = rf"x\.json: finding of format {found!r}, this version reads 2; run again, or use the "
    with pytest.raises(RunError, match=text + "NodeLens version that wrote it"):
        finding_from_json(stored, "x.json")


def test_a_bad_number_is_named_with_its_place(tmp_path):
    line = Line("a", (0.0, 1.0), (0.5, float("nan")))
    plot = LinePlot("p", "P", "x", "y", (line,))
    with pytest.raises(RunError, match=r"plots\[0\]\.lines\[0\]\.y\[1\]: nan is not a number"):
        to_text(finding_to_json(Finding("analysis", "x", "X", plots=(plot,))), "x.json")

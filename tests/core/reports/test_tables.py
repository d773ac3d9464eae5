import csv
from io import StringIO

from nodelens.findings.finding import Table
from nodelens.reports.tables import escape_latex, to_csv, to_latex

TABLE = Table(
    "t",
    "Accuracy & loss_50%",
    ("class", "accuracy", "n"),
    (('a "quoted", name', 0.1 + 0.2, 12), ("new\nline", None, 20_000)),
)


def test_csv_keeps_every_digit_and_quotes_what_it_must():
    rows = list(csv.reader(StringIO(to_csv(TABLE))))
    assert rows == [
        ["class", "accuracy", "n"],
        ['a "quoted", name', "0.30000000000000004", "12"],
        ["new\nline", "", "20000"],
    ]


def test_csv_lines_end_with_a_line_feed():
    assert "\r" not in to_csv(TABLE)


def test_latex_is_a_booktabs_table_with_numbers_to_the_right():
    text = to_latex(TABLE)
    for part in (r"\toprule", r"\midrule", r"\bottomrule", r"\begin{tabular}{lrr}"):
        assert part in text
    assert r"\caption{Accuracy \& loss\_50\%}" in text
    assert r"a " in text
    assert r"new line & -- & 20\,000 \\" in text


def test_latex_of_a_table_without_rows():
    text = to_latex(Table("t", "T", ("a", "b"), ()))
    assert r"\begin{tabular}{ll}" in text
    assert r"a & b \\" in text


def test_every_special_character_is_escaped_once():
    assert escape_latex(r"\{}$&#%_^~<>") == (
        r"\textbackslash{}\{\}\$\&\#\%\_\textasciicircum{}\textasciitilde{}"
        r"\textless{}\textgreater{}"
    )
    assert escape_latex("0.9 ± 0.1 −1") == r"0.9 $\pm$ 0.1 $-$1"

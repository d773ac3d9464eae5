from nodelens.findings.finding import Table
from nodelens.reports.table_view import view


def texts(shown):
    return [[cell.text for cell, _ in row] for row in shown.rows]


def test_a_column_of_standard_errors_joins_the_one_before_it():
    table = Table("t", "T", ("a", "loss", "loss_se"), (("x", 0.5, 0.01), ("y", 0.25, None)))
    shown = view(table)
    assert [heading for heading, _ in shown.headings] == ["a", "loss ± se"]
    assert texts(shown) == [["x", "0.500 ± 0.010"], ["y", "0.25"]]


def test_an_unrelated_column_of_errors_stays_alone():
    shown = view(Table("t", "T", ("a", "loss_se"), ((1, 2.0),)))
    assert [heading for heading, _ in shown.headings] == ["a", "loss_se"]


def test_numbers_carry_their_exact_value_to_sort_by():
    shown = view(Table("t", "T", ("a",), ((0.123456789,), (None,))))
    assert shown.headings == (("a", True),)
    assert [cell.key for ((cell, _),) in shown.rows] == ["0.123456789", ""]


def test_columns_with_any_text_are_sorted_as_text():
    assert view(Table("t", "T", ("a",), ((1,), ("x",)))).headings == (("a", False),)


def test_long_tables_are_folded_and_very_long_ones_are_cut():
    table = Table("t", "T", ("a",), tuple((number,) for number in range(2500)))
    shown = view(table, "tables/t.csv")
    assert (shown.folded, shown.total, len(shown.rows)) == (True, 2500, 2000)
    assert not view(Table("t", "T", ("a",), table.rows[:30])).folded


def test_a_table_without_rows_keeps_its_headings():
    assert [heading for heading, _ in view(Table("t", "T", ("a", "b"), ())).headings] == ["a", "b"]

import pytest

from nodelens.reports.numbers import column, number, seconds, with_error

THIN = "\u202f"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (0.0, "0"),
        (1.0, "1"),
        (-3, "−3"),
        (12345, f"12{THIN}345"),
        (0.5, "0.5"),
        (0.94444, "0.9444"),
        (1234.567, "1235"),
        (-0.25, "−0.25"),
        (0.00012345, "0.000123"),
        (1.2345e-7, "1.23e−7"),
        (1e9, "1e9"),
        (float("nan"), "nan"),
    ],
)
def test_single_numbers_have_four_digits(value, shown):
    assert number(value) == shown


@pytest.mark.parametrize(
    ("value", "error", "shown"),
    [
        (0.94444, 0.0123, "0.944 ± 0.012"),
        (0.0001, 0.01, "0.000 ± 0.010"),
        (1234.5, 25.0, "1234 ± 25"),
        (-0.5, 0.25, "−0.50 ± 0.25"),
        (0.5, 0.0, "0.5 ± 0"),
        (0.5, 1e-9, "0.5 ± 1e−9"),
    ],
)
def test_values_end_where_their_error_ends(value, error, shown):
    assert with_error(value, error) == shown


@pytest.mark.parametrize(
    ("cells", "shown"),
    [
        ([2.345, 0.00012, None], ["2.345", "0.00012", "–"]),
        ([1.0, 2.0, 1000.0], ["1", "2", "1000"]),
        ([0.0, 0.5, 0.25], ["0", "0.50", "0.25"]),
        ([1, 20_000], ["1", f"20{THIN}000"]),
        ([True, False, "text"], ["yes", "no", "text"]),
        ([], []),
    ],
)
def test_columns_share_their_decimals(cells, shown):
    assert column(cells) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.04, "40 ms"), (1.5, "1.5 s"), (41.3, "41 s"), (119.9, "2 min 0 s"), (8000, "2 h 13 min")],
)
def test_durations(value, shown):
    assert seconds(value).replace(THIN, " ") == shown

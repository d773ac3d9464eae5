import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodelens.errors import RunError
from nodelens.storage.strict_json import from_text, to_text

scalars = st.none() | st.booleans() | st.integers() | st.text()
scalars |= st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))


@given(values)
def test_any_json_value_comes_back(value):
    text = to_text(value, "x.json")
    assert from_text(text, "x.json") == value
    assert text.endswith("\n")


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"a": [1.0, {"b": float("nan")}]}, "a[1].b: nan is not a number"),
        ({"a": np.array([0.0, np.inf])}, "a[1]: inf is not a number"),
        ([np.float32("nan")], "[0]: nan is not a number"),
        (float("-inf"), "the value: -inf is not a number"),
        ({"a": {1: 2}}, "a: the key 1 is not text"),
        ({"a": object()}, "a: a object has no JSON form"),
    ],
)
def test_values_without_a_json_form_are_named_with_their_place(value, place):
    with pytest.raises(RunError) as caught:
        to_text(value, "data.json")
    assert str(caught.value).startswith(f"data.json: {place}; give finite numbers")


def test_numpy_sets_paths_and_tuples_become_plain():
    value = {
        "array": np.arange(4).reshape(2, 2),
        "scalar": np.float64(0.5),
        "flag": np.bool_(True),
        "set": {"b", "a"},
        "path": Path("a") / "b",
        "tuple": (1, None),
    }
    assert json.loads(to_text(value, "x")) == {
        "array": [[0, 1], [2, 3]],
        "scalar": 0.5,
        "flag": True,
        "set": ["a", "b"],
        "path": str(Path("a") / "b"),
        "tuple": [1, None],
    }


def test_floats_keep_every_digit():
    assert from_text(to_text(0.1 + 0.2, "x"), "x") == 0.1 + 0.2


def test_long_lists_of_numbers_stay_on_one_line_and_mappings_are_indented():
    text = to_text({"first": list(range(100)), "second": {"third": 1}}, "x")
    assert len(text.splitlines()) == 4
    assert '\n  "second": {"third": 1}\n' in text


@pytest.mark.parametrize("text", ["{", '{"a": NaN}', "[Infinity]", "", "[" * 100_000])
def test_what_is_not_strict_json_is_refused_on_reading(text):
    with pytest.raises(RunError, match=r"run\.json: not valid JSON"):
        from_text(text, "run.json")

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodelens.storage.names import file_name


@pytest.mark.parametrize("name", ["digits", "cnn-2", "a.b_c", "Run1"])
def test_ordinary_names_stay(name):
    assert file_name(name) == name


@pytest.mark.parametrize("name", ["../../etc/passwd", "..", "a/b", "", " ", ".hidden", "é", "a\0b"])
def test_other_names_become_safe(name):
    safe = file_name(name)
    assert safe
    assert not safe.startswith(".")
    assert not set(safe) & set("/\\:\0 ")


@given(st.text(), st.text())
def test_different_names_stay_different(first, second):
    assert (file_name(first) == file_name(second)) == (first == second)


@given(st.text(min_size=200))
def test_long_names_are_cut(name):
    assert len(file_name(name)) < 100

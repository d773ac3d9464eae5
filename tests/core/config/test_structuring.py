"""What a run has written, read back as values of its types."""

from __future__ import annotations

import pytest
from attrs import frozen

from nodelens.config.stored_values import restored
from nodelens.errors import RunError


@frozen
class Noted:
    """What was noted."""

    passes: int
    limit: int | None
    pivots: tuple[tuple[str, float], ...]


GOOD = {"passes": 2, "limit": None, "pivots": [["a", 1]]}


def test_json_becomes_values_of_the_types():
    assert restored(Noted, GOOD, "x") == Noted(2, None, (("a", 1.0),))
    assert restored(list[Noted], [GOOD], "x") == [Noted(2, None, (("a", 1.0),))]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"passes": "2"},
            "passes: expected a whole number, got the text '2'; take the quotes",
        ),
        ({"pivots": [["a"]]}, "pivots.0: expected a list of 2 items (text, then a number), got a"),
        ({"more": 1}, "more: unknown key; known: limit, passes, pivots"),
        ({"limit": 1.5}, "limit: expected a whole number, or null, got 1.5"),
    ],
)
def test_anything_else_is_refused_with_its_place(change, message):
    with pytest.raises(RunError) as caught:
        restored(Noted, GOOD | change, "a.json")
    assert str(caught.value).startswith(f"a.json: {message}")
    assert str(caught.value).endswith("; it was changed or damaged after the run wrote it")


def test_a_value_of_another_shape_is_refused():
    with pytest.raises(RunError, match=r"a\.json: expected a mapping with the keys passes, limit"):
        restored(Noted, [], "a.json")

"""Options of components: listed, documented, checked and built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import attrs
import pytest
from attrs import field, frozen, validators

from nodelens.config.docstrings import attribute_docs
from nodelens.config.options import OptionField, option_fields, structure_options
from nodelens.errors import ConfigError, PluginError
from nodelens.scoring.shared_options import option

if TYPE_CHECKING:
    from decimal import Decimal


@frozen
class Everything:
    """One option of every type.

    Attributes:
        path: where it is
            on disk.
        words: texts: at least two.

    Nothing after the section counts:
        choice: no.
    """

    path: Path
    words: tuple[str, ...] = field(default=("a", "b"), validator=validators.min_len(2))
    choice: Literal["x", 3] = "x"
    either: int | str | None = None
    pair: tuple[float, bool] = (1.0, True)
    table: Mapping[str, float] = field(factory=dict)
    listed: list[int] = field(factory=list)
    unique: frozenset[int] = frozenset()
    sequence: Sequence[int] = ()
    anything: Any = None
    _hidden: int = 1
    derived: int = field(default=attrs.Factory(lambda self: len(self.words), takes_self=True))
    inner: int = field(init=False, default=0)
    one_of: float | None = field(
        default=None, validator=validators.optional(validators.in_([0.5, 1.0]))
    )


def problems(options, cls=Everything, path=""):
    with pytest.raises(ConfigError) as caught:
        structure_options(cls, options, path)
    return list(caught.value.problems)


def test_options_are_listed_in_words():
    assert option_fields(Everything) == [
        OptionField("path", "a path", None, "where it is on disk."),
        OptionField(
            "words", "a list of texts with at least 2 items", "[a, b]", "texts: at least two."
        ),
        OptionField("choice", "one of 'x', 3", "x", ""),
        OptionField("either", "a whole number, or text, or null", "null", ""),
        OptionField("pair", "a list of 2 items (a number, then true or false)", "[1.0, true]", ""),
        OptionField("table", "a mapping to numbers", "{}", ""),
        OptionField("listed", "a list of whole numbers", "[]", ""),
        OptionField("unique", "a list of whole numbers", "[]", ""),
        OptionField("sequence", "a list of whole numbers", "[]", ""),
        OptionField("anything", "anything", "null", ""),
        OptionField("hidden", "a whole number", "1", ""),
        OptionField("derived", "a whole number", "", ""),
        OptionField("one_of", "one of 0.5, 1.0, or null", "null", ""),
    ]


def test_values_become_what_the_class_wants():
    given = {
        "path": "data/x.npz",
        "words": ["p", "q", "r"],
        "choice": 3,
        "either": "5",
        "pair": [2, False],
        "table": {"a": 1},
        "listed": [1],
        "unique": [2, 2],
        "sequence": (3,),
        "anything": {"deep": [1, None]},
        "hidden": 4,
        "one_of": 1,
    }
    built = structure_options(Everything, given)
    assert built == Everything(
        path=Path("data/x.npz"),
        words=("p", "q", "r"),
        choice=3,
        either="5",
        pair=(2.0, False),
        table={"a": 1.0},
        listed=[1],
        unique=frozenset({2}),
        sequence=(3,),
        anything={"deep": [1, None]},
        hidden=4,
        one_of=1.0,
    )
    assert built.derived == 3


@frozen
class WholeFirst:
    value: int | float = 0
    values: tuple[int | float, ...] = ()
    choice: Literal["a", "b"] = "a"
    above: float = field(default=1.0, validator=validators.gt(0))


@frozen
class RealFirst:
    value: float | int = 0
    values: tuple[float | int, ...] = ()
    choice: Literal["b", "a"] = "a"
    above: float = field(default=1.0, validator=validators.gt(0.0))


def test_types_that_python_takes_for_equal_keep_their_own_order_and_words():
    given = {"value": 3, "values": [3]}
    whole, real = structure_options(WholeFirst, given), structure_options(RealFirst, given)
    assert (type(whole.value), type(whole.values[0])) == (int, int)
    assert (type(real.value), type(real.values[0])) == (float, float)
    assert problems({"choice": "c", "above": 0}, WholeFirst) == [
        "choice: expected one of 'a', 'b', got the text 'c'",
        "above: expected a number above 0, got 0",
    ]
    assert problems({"choice": "c", "above": 0}, RealFirst) == [
        "choice: expected one of 'b', 'a', got the text 'c'",
        "above: expected a number above 0.0, got 0",
    ]


@frozen
class Faulty:
    """A class with a mistake of its author."""

    count: int = 1

    def __attrs_post_init__(self) -> None:
        raise KeyError("nothing of the user's")


def test_a_mistake_of_the_class_itself_is_no_problem_of_the_config():
    with pytest.raises(KeyError, match="nothing of the user's"):
        structure_options(Faulty, {"count": 2})


def test_problems_carry_the_path_of_the_options():
    assert problems({"words": ["a"], "one_of": 2, "choice": True}, path="metrics.0") == [
        "metrics.0.words: expected a list of texts with at least 2 items, got a list of 1 item",
        "metrics.0.one_of: expected one of 0.5, 1.0, or null, got 2",
        "metrics.0.choice: expected one of 'x', 3, got true",
        "metrics.0: the key 'path' is missing; it is a path",
    ]


def test_problems_without_a_path_start_with_the_key():
    assert problems({"path": "a", "either": 1.5, "hiden": 3}) == [
        "either: expected a whole number, or text, or null, got 1.5",
        "hiden: unknown key; did you mean 'hidden'?",
    ]


@frozen
class Checked:
    low: int = 0
    high: int = 1

    def __attrs_post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("the low end lies above the high end")


@frozen
class Even:
    count: int = field(default=2)

    @count.validator
    def _even(self, attribute: Any, value: int) -> None:
        if value % 2:
            raise ValueError(f"'count' has to be even, got {value}")


def test_what_the_class_itself_refuses_is_a_problem_of_the_whole():
    assert problems({"low": 3}, Checked, "data") == ["data: the low end lies above the high end"]


def test_a_refusal_that_names_an_option_is_its_problem():
    assert problems({"count": 3}, Even, "data") == ["data.count: 'count' has to be even, got 3"]


@frozen
class Child(Everything):
    """A child.

    Attributes:
        words: other words.
        more: more.
    """

    more: int = 1


def test_a_child_keeps_its_parents_documentation():
    assert attribute_docs(Child) == {
        "path": "where it is on disk.",
        "words": "other words.",
        "more": "more.",
    }


def test_a_class_without_the_section_has_no_documentation():
    assert attribute_docs(Checked) == {}


@frozen
class Opaque:
    value: complex = 0j


@frozen
class Hidden:
    value: Decimal | None = None


@attrs.frozen
class Untyped:
    value = field(default=1)


@frozen
class OddDefault:
    value: Any = slice(3)


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (Opaque, r"Opaque\.value: a config cannot hold the type complex; use numbers, text"),
        (Hidden, r"Hidden\.value: the type .* needs 'Decimal', imported outside TYPE_CHECKING"),
        (Untyped, r"Untyped\.value: the option has no type"),
        (OddDefault, r"OddDefault\.value: a config cannot hold a value of the type slice"),
        (dict, "^dict is not an attrs class"),
    ],
)
def test_a_broken_class_is_the_plugins_error(cls, message):
    with pytest.raises(PluginError, match=message):
        option_fields(cls)


@frozen
class Shared:
    """Options that are documented at the field.

    Attributes:
        own: said here.
    """

    noise: float = option(0.1, validators.ge(0.0), doc="said at the field.")
    own: int = option(1, doc="said at the field, and here.")


def test_an_option_is_documented_at_the_field_or_by_its_class():
    assert [entry.doc for entry in option_fields(Shared)] == ["said at the field.", "said here."]

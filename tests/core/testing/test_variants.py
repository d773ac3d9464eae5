"""Other settings are drawn from the types and bounds of options."""

import pytest
from attrs import field, frozen, make_class
from attrs.validators import ge, gt, in_, le, optional

from nodelens.scoring.shared_options import option
from nodelens.testing.variants import drawn_variants, settings_that_differ


@pytest.mark.parametrize(
    ("entry", "values"),
    [
        (field(default=False), [True]),
        (field(default=True), [False]),
        (field(default="a", validator=in_(("a", "b", "c"))), ["b", "c"]),
        (field(default=64, validator=[ge(1), le(100)]), [8]),
        (field(default=1, validator=ge(1)), [2]),
        (field(default=0), [1]),
        (field(default=None, validator=optional(ge(2))), [3]),
        (field(default=0.5, validator=[gt(0.0), le(1.0)]), [0.75]),
        (field(default=1.0, validator=le(1.0)), [0.5]),
        (field(default=0.01, validator=ge(0.0)), [1.0]),
        (field(default=0.0, validator=ge(0.0)), [0.5]),
        (option(2048, ge(8), examples=[24, 32]), [24, 32]),
        (option("all", in_(("all", "one", "none")), examples=["one"]), ["one"]),
        (field(default="text"), []),
        (field(), []),
    ],
)
def test_another_value_of_an_option(entry, values):
    kind = make_class("Metric", {"size": entry})
    assert drawn_variants(kind) == [{"size": value} for value in values]


@frozen
class Metric:
    core: float = option(0.5, examples=[0.1])
    top: int = option(5, ge(1), examples=[1], beside={"core": 0.9})


def test_an_option_may_need_another_one():
    assert drawn_variants(Metric) == [{"core": 0.1}, {"core": 0.9, "top": 1}]


def test_settings_are_compared_with_and_without_the_option():
    variants = [{"core": 0.1}, {"core": 0.9, "top": 1}]
    assert list(settings_that_differ(variants, "top")) == [(variants[1], {"core": 0.9})]

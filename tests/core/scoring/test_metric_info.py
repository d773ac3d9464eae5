"""What a metric says of its values is checked when the record is made."""

import pytest

from nodelens.interfaces.metric import INVARIANCES, MetricInfo
from nodelens.testing.rewritings import REWRITINGS


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"higher_is_better": "up"}, "'higher_is_better' must be <class 'bool'>"),
        ({"dead_nodes": "worst"}, "'dead_nodes' must be in"),
        ({"level": "network"}, "'level' must be in"),
        ({"no_interval": False}, "'no_interval' must be <class 'str'>"),
        ({"invariances": {"functional"}}, "'invariances' must be <class 'frozenset'>"),
        ({"invariances": frozenset({"rotation"})}, "'invariances' must be in"),
        ({"unit": ""}, "'unit' must match regex"),
        ({"unit": " "}, "'unit' must match regex"),
        ({"unit": "a\nb"}, "'unit' must match regex"),
        ({"unit": "\x1b[31mnats"}, "'unit' must match regex"),
        ({"unit": 61 * "x"}, "'unit' must match regex"),
        ({"unit": 3}, "'unit' must be <class 'str'>"),
    ],
)
def test_a_word_that_means_nothing_is_refused(wrong, message):
    with pytest.raises((TypeError, ValueError), match=message):
        MetricInfo(**{"formula": "x", "unit": "1", "higher_is_better": True, **wrong})


def test_every_invariance_has_a_rewriting_that_tests_it():
    assert set(INVARIANCES) == set(REWRITINGS)

"""What a metric says of its values is checked when the record is made."""

import pytest

from nodelens.interfaces.metric import MetricInfo


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"higher_is_better": "up"}, "'higher_is_better' must be <class 'bool'>"),
        ({"dead_nodes": "worst"}, "'dead_nodes' must be in"),
        ({"level": "network"}, "'level' must be in"),
        ({"no_interval": False}, "'no_interval' must be <class 'str'>"),
        ({"invariances": {"functional"}}, "'invariances' must be <class 'frozenset'>"),
    ],
)
def test_a_word_that_means_nothing_is_refused(wrong, message):
    with pytest.raises((TypeError, ValueError), match=message):
        MetricInfo(**{"formula": "x", "unit": "1", "higher_is_better": True, **wrong})

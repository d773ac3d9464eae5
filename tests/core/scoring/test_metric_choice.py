"""What patterns leave out, and what has to stay."""

from __future__ import annotations

import pytest
from attrs import frozen

from nodelens.errors import ConfigError
from nodelens.scoring.metric_choice import MetricChoice


@frozen
class Made:
    """A metric that is made of others."""

    depends_on: tuple[str, ...] = ()
    reason: str = ""


def chosen(metrics, taken):
    choice = MetricChoice(metrics, tuple(metrics), frozenset(taken), {"broken": "no module"})
    return choice.fitting(lambda metric: metric.reason)


def test_only_what_a_pattern_takes_is_left_out():
    choice = chosen(
        {"a": Made(), "b": Made(reason="no labels"), "c": Made(reason="no labels")}, "ab"
    )
    assert list(choice.metrics) == ["a", "c"]
    assert (choice.asked, choice.taken) == (("a", "c"), {"a"})
    assert choice.left_out == {"b": "no labels", "broken": "no module"}


def test_what_an_outright_metric_is_made_of_stays():
    choice = chosen({"mix": Made(("b",)), "b": Made(reason="no labels")}, "b")
    assert list(choice.metrics) == ["mix", "b"]


def test_a_metric_goes_with_a_part_that_does_not_fit():
    metrics = {"mix": Made(("part",)), "part": Made(("deep",)), "deep": Made(reason="no loss")}
    metrics["other"] = Made()
    choice = MetricChoice(metrics, ("mix", "other"), frozenset({"mix"})).fitting(
        lambda each: each.reason
    )
    assert list(choice.metrics) == ["other"]
    assert choice.left_out == {"mix": "no loss"}


def test_patterns_that_take_nothing_beside_no_other_metric_are_an_error():
    with pytest.raises(ConfigError, match="nothing that the patterns match fits: a: no labels"):
        chosen({"a": Made(reason="no labels")}, "a")

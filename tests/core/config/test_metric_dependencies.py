"""Metrics that are made of others."""

from __future__ import annotations

import pytest
from attrs import frozen

from nodelens.config.metric_dependencies import with_parts
from nodelens.errors import ConfigError


@frozen
class Metric:
    made_of: tuple[str, ...] = ()

    @property
    def depends_on(self):
        return self.made_of


OFFERED = {
    "plain": Metric(),
    "one": Metric(("plain",)),
    "two": Metric(("one", "plain")),
    "left": Metric(("right",)),
    "right": Metric(("left",)),
    "self": Metric(("self",)),
    "lost": Metric(("plane",)),
}


def unloaded(kind, name):
    return f"; not loaded: the {kind} {name}"


def joined(*names):
    return with_parts(
        {name: OFFERED[name] for name in names}, OFFERED.__getitem__, OFFERED, unloaded
    )


def test_parts_join_after_the_metrics_each_once():
    assert list(joined("two")) == ["two", "one", "plain"]
    assert list(joined("plain", "two")) == ["plain", "two", "one"]


def test_a_metric_of_the_run_is_the_part_of_that_name():
    mine = Metric()
    metrics = {"one": Metric(("plain",)), "plain": mine}
    found = with_parts(metrics, OFFERED.__getitem__, OFFERED, unloaded)
    assert found["plain"] is mine


def test_an_unknown_part_gets_the_closest_name():
    with pytest.raises(ConfigError, match="'lost' is made of 'plane', which is no metric") as error:
        joined("lost")
    assert str(error.value).endswith("did you mean 'plain'?; not loaded: the metric plane")


@pytest.mark.parametrize(
    ("name", "circle"), [("self", "self -> self"), ("left", "left -> right -> left")]
)
def test_a_circle_is_an_error(name, circle):
    with pytest.raises(ConfigError, match=f"metrics: {circle}: made of each other in a circle"):
        joined(name)


@frozen
class Fussy(Metric):
    def check_dependencies(self, parts):
        return [f"{name!r} has {len(part.made_of)} parts" for name, part in parts.items()]


def test_what_a_metric_has_against_its_parts_is_told_for_all_of_them():
    metrics = {"first": Fussy(("plain", "one")), "second": Fussy(("one",))}
    with pytest.raises(ConfigError) as error:
        with_parts(metrics, OFFERED.__getitem__, OFFERED, unloaded)
    assert error.value.problems == (
        "metrics: first: 'plain' has 0 parts",
        "metrics: first: 'one' has 1 parts",
        "metrics: second: 'one' has 1 parts",
    )

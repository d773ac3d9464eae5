"""Objects that claim to be metrics and are none."""

import pytest

from nodelens.config.plugin_requirements import PluginRequirement
from nodelens.errors import PluginError
from nodelens.interfaces.metric import MetricInfo
from nodelens.plugins.checked_metric import checked_metric


class Unsure:
    info = MetricInfo(formula="?", unit="1", higher_is_better=True)

    @property
    def statistics(self):
        raise KeyError("top")

    def score(self, group):
        raise NotImplementedError


class Untold(Unsure):
    info = {"formula": "?"}  # noqa: RUF012


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        (Unsure, r"metric 'm' is a class; give an object: Unsure\(\)"),
        (3, "metric 'm' lacks .*score.*; see nodelens.testing"),
        (Untold(), r"Untold\.info is .*, not a MetricInfo"),
        (Unsure(), "metric 'm' cannot say what it reads: KeyError: 'top'"),
    ],
)
def test_what_is_wrong_is_named(metric, words):
    with pytest.raises(PluginError, match=words):
        checked_metric("m", metric)


def test_a_version_that_is_none_lies_in_no_range():
    assert not PluginRequirement.parse("plugin>=1").fits("unreleased")

"""The author kit over every statistic of the distribution that a metric reads."""

import pytest
from tests.metrics.every_metric import SPECS, made, metric_class

from nodelens.interfaces.statistic import PassStatistic
from nodelens.testing import check_pass_statistic, check_statistic
from nodelens.testing.variants import drawn_variants
from nodelens_metrics.curvature.gradient_flow import GradientSum


def found():
    """Return what all metrics read, with the options as they are and with others, each once."""
    statistics = {}
    for spec in SPECS:
        for options in ({}, *drawn_variants(metric_class(spec.target))):
            statistics.update(dict.fromkeys(made(spec, **options).statistics))
    return [each for each in statistics if type(each).__module__.startswith("nodelens_metrics.")]


def checks(statistic):
    if isinstance(statistic, PassStatistic):
        return check_pass_statistic(statistic, holds_parameters=statistic == GradientSum())
    return check_statistic(statistic)


CHECKS = [check for statistic in found() for check in checks(statistic)]


@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_statistic(check):
    check.run()

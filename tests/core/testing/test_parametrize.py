"""One decorator makes a test case of each check."""

import pytest

from nodelens.statistics.moments import Moments
from nodelens.testing import check_metric, check_statistic, parametrize_with_checks
from nodelens_metrics.activations.activity import ActivationMean, ZeroFraction


def cases(*components, **options):
    @parametrize_with_checks(*components, **options)
    def test(check):
        check.run()

    return [str(check) for check in test.pytestmark[0].args[1]]


def test_the_checks_of_several_components_follow_each_other():
    found = cases(ActivationMean, Moments())
    expected = [*check_metric(ActivationMean), *check_statistic(Moments())]
    assert found == [str(check) for check in expected]


def test_options_of_the_kit_are_handed_on():
    variants = [{"tolerance": 0.25, "relative": True}]
    assert cases(ZeroFraction, variants=variants) != cases(ZeroFraction)


def test_what_has_no_checks_is_refused():
    with pytest.raises(TypeError, match="no checks are known for 3; give a metric"):
        parametrize_with_checks(3)


@parametrize_with_checks(ActivationMean)
def test_a_metric(check):
    check.run()

import pytest
from nodelens_example_metric.plugin import nodelens_register_metrics

from nodelens.testing import check_metric

(SPEC,) = nodelens_register_metrics()


@pytest.mark.parametrize("check", check_metric(SPEC), ids=str)
def test_mean_peak(check):
    check.run()

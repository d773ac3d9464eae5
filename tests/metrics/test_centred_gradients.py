"""Gradients of rows about the mean, as a statistic."""

import pytest

from nodelens.testing import check_statistic
from nodelens_metrics.centred_gradients import CentredRowGradients


@pytest.mark.parametrize("check", check_statistic(CentredRowGradients()), ids=str)
def test_statistic(check):
    check.run()

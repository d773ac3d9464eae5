"""The author kit: what a metric, statistic, pruning method or recovery must satisfy, as checks.

In a test file::

    import pytest
    from nodelens.testing import check_metric
    from mypackage.peak import Peak

    @pytest.mark.parametrize("check", check_metric(Peak), ids=str)
    def test_peak(check):
        check.run()
"""

from nodelens.testing.checks import Check, failures
from nodelens.testing.metric_checks import check_metric
from nodelens.testing.pass_checks import check_pass_statistic
from nodelens.testing.pruner_checks import check_pruner
from nodelens.testing.recovery_checks import check_recovery
from nodelens.testing.statistic_checks import check_statistic

__all__ = [
    "Check",
    "check_metric",
    "check_pass_statistic",
    "check_pruner",
    "check_recovery",
    "check_statistic",
    "failures",
]

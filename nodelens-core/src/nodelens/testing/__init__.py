"""The author kit: checks of metrics, losses, statistics, pruning methods and recoveries.

In a test file::

    from nodelens.testing import parametrize_with_checks
    from mypackage.peak import Peak

    @parametrize_with_checks(Peak)
    def test_peak(check):
        check.run()
"""

from nodelens.testing.checks import Check, failures
from nodelens.testing.loss_checks import check_loss
from nodelens.testing.metric_kit import check_metric
from nodelens.testing.parametrize import parametrize_with_checks
from nodelens.testing.pass_checks import check_pass_statistic
from nodelens.testing.pruner_checks import check_pruner
from nodelens.testing.recovery_checks import check_recovery
from nodelens.testing.statistic_checks import check_statistic

__all__ = [
    "Check",
    "check_loss",
    "check_metric",
    "check_pass_statistic",
    "check_pruner",
    "check_recovery",
    "check_statistic",
    "failures",
    "parametrize_with_checks",
]

from nodelens_example_metric.plugin import nodelens_register_metrics

from nodelens.testing import parametrize_with_checks


@parametrize_with_checks(*nodelens_register_metrics())
def test_metrics(check):
    check.run()

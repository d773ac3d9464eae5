"""The page on metrics names every statistic of the core, with its options."""

from pathlib import Path

import attrs
import pytest
from tests.core.statistics.every_statistic import statistics

PAGE = Path(__file__).parents[3] / "nodelens-metrics" / "docs" / "metrics.md"


@pytest.mark.parametrize("statistic", list(statistics()))
def test_the_page_names_the_statistic_with_its_options(statistic):
    options = ", ".join(field.name for field in attrs.fields(statistic))
    assert f"| `{statistic.__name__}({options})` |" in PAGE.read_text("utf-8")

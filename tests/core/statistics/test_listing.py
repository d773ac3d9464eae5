"""The page on metrics names every statistic of the core, with its options."""

import inspect
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import attrs
import pytest

import nodelens.statistics

PAGE = Path(__file__).parents[3] / "nodelens-metrics" / "docs" / "metrics.md"


def statistics():
    for module in iter_modules(nodelens.statistics.__path__, "nodelens.statistics."):
        for _, found in inspect.getmembers(import_module(module.name), inspect.isclass):
            if found.__module__ == module.name and attrs.has(found) and hasattr(found, "update"):
                yield found


@pytest.mark.parametrize("statistic", list(statistics()))
def test_the_page_names_the_statistic_with_its_options(statistic):
    options = ", ".join(field.name for field in attrs.fields(statistic))
    assert f"| `{statistic.__name__}({options})` |" in PAGE.read_text("utf-8")

"""The tables of metrics in the pages are those that the classes give."""

import pytest
from projects.docs.metric_tables import pages
from tests.metrics.every_metric import SPECS

PAGES = pages()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_the_tables_of_a_page_are_up_to_date(path):
    message = "run: python projects/docs/metric_tables.py"
    assert path.read_text(encoding="utf-8") == PAGES[path], message


def test_every_family_has_a_page():
    assert {path.stem for path in PAGES} == {"metrics"} | {spec.family for spec in SPECS}


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_a_metric_is_in_the_table_of_its_family_and_in_the_overview(spec):
    found = {path.stem: text for path, text in PAGES.items()}
    assert f"\n| `{spec.name}`" in found[spec.family]
    (row,) = [line for line in found["metrics"].splitlines() if f"({spec.family}.md)" in line]
    assert f"`{spec.name}`" in row

"""Write the tables of metrics and statistics in the pages of nodelens-metrics, from the classes.

python projects/docs/metric_tables.py
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator
from importlib import import_module
from itertools import groupby
from pathlib import Path
from pkgutil import iter_modules

import attrs

import nodelens.statistics
from nodelens.plugins.checked_metric import info_of
from nodelens.plugins.manager import load_plugins
from nodelens.plugins.registry import Offer, Registry

DOCS = Path(__file__).parents[2] / "nodelens-metrics/docs"
BLOCKS = re.compile(r" \(blocks? [^)]*\)")
"""Where a statistic stands in the basis: not a word for readers of the page."""
KEEP = {True: "high", False: "low", None: ""}
Table = list[tuple[str, ...]]


def offers(registry: Registry) -> dict[str, list[Offer]]:
    """Return the metrics of the distribution by family, in the order of the sources."""
    ours = [
        offer
        for offer in registry.offers
        if offer.spec.kind == "metric" and offer.distribution == "nodelens-metrics"
    ]
    ours.sort(key=lambda offer: offer.spec.family)
    return {family: [*found] for family, found in groupby(ours, lambda offer: offer.spec.family)}


def family_table(registry: Registry, found: Iterable[Offer]) -> Table:
    """Return one row for each metric of a family."""
    rows: Table = [("metric", "what it is", "formula", "unit", "keep")]
    for offer in found:
        info = info_of(registry.checked(offer, registry.load(offer)))
        name = f"`{offer.name}`" + (" (of a layer)" if info.level == "layer" else "")
        cells = (offer.spec.summary, info.formula, info.unit, KEEP[info.higher_is_better])
        rows.append((name, *cells))
    return rows


def overview(found: dict[str, list[Offer]]) -> Table:
    """Return one row for each family."""
    rows: Table = [("family", "metrics")]
    for family, members in found.items():
        names = ", ".join(f"`{offer.name}`" for offer in members)
        rows.append((f"[`{family}`]({family}.md)", names))
    return rows


def statistics() -> Iterator[type]:
    """Yield the classes of all statistics of the core, by module."""
    for module in iter_modules(nodelens.statistics.__path__, "nodelens.statistics."):
        for _, found in inspect.getmembers(import_module(module.name), inspect.isclass):
            if found.__module__ == module.name and attrs.has(found) and hasattr(found, "update"):
                yield found


def statistic_table(found: Iterable[type]) -> Table:
    """Return one row for each statistic: the name with its options, and what it holds."""
    rows: Table = [("statistic", "what it holds")]
    for kind in found:
        options = ", ".join(entry.name for entry in attrs.fields(kind))
        first = (kind.__doc__ or "").partition("\n")[0]
        rows.append((f"`{kind.__name__}({options})`", BLOCKS.sub("", first)))
    return rows


def markdown(rows: Table) -> str:
    """Return a table; the first row is the title of the columns."""
    lines = ["| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def with_table(page: str, mark: str, rows: Table) -> str:
    """Return a page with a new table between its marks."""
    start, end = f"<!-- {mark} -->\n", f"<!-- end of {mark} -->"
    between = re.compile(re.escape(start) + ".*?" + re.escape(end), re.DOTALL)
    return between.sub(lambda _: f"{start}\n{markdown(rows)}\n\n{end}", page)


def pages() -> dict[Path, str]:
    """Return every page with a table of metrics as it should read."""
    registry = load_plugins().registry
    found = offers(registry)
    front = DOCS / "metrics.md"
    page = with_table(front.read_text(encoding="utf-8"), "families", overview(found))
    written = {front: with_table(page, "statistics", statistic_table(statistics()))}
    for family, members in found.items():
        path = DOCS / f"{family}.md"
        table = family_table(registry, members)
        written[path] = with_table(path.read_text(encoding="utf-8"), "metrics", table)
    return written


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
        print(path.name)

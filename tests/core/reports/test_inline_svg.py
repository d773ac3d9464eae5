import re

from nodelens.findings.finding import Line, LinePlot
from nodelens.reports.figures import render
from nodelens.reports.inline_svg import inline_svg
from nodelens.reports.style import INK, PALETTE, PAPER

POINTS = (0.0, 1.0)
PLOT = LinePlot("p", "P", "x", "y", (Line("a", POINTS, POINTS), Line("b", POINTS, POINTS)))


def inlined(prefix="figure-1", label="P"):
    return inline_svg(render(PLOT, ("svg",))["svg"].decode(), prefix, label)


def test_ids_and_references_carry_the_prefix_and_match():
    text = inlined()
    ids = re.findall(r'\bid="([^"]+)"', text)
    references = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', text)
    assert ids
    assert references
    assert all(name.startswith("figure-1-") for name in ids)
    assert {first or second for first, second in references} <= set(ids)


def test_colours_follow_the_page():
    text = inlined()
    assert not any(shade in text for shade in (INK, PAPER, *PALETTE))
    assert "var(--ink)" in text
    assert "var(--series-1)" in text


def test_no_style_sheet_font_or_address_is_left():
    text = inlined()
    assert not any(part in text for part in ("<style", "font-family", "http", "<!DOCTYPE", "<?xml"))


def test_the_label_is_escaped():
    assert 'aria-label="&lt;b&gt;&#34;"' in inlined(label='<b>"')

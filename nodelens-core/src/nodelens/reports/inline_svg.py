"""SVG figures inside a page, in the colours and the type of the page."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

from nodelens.reports.style import INK, MUTED, PALETTE, PAPER, RULE

_THEME = {INK: "var(--ink)", MUTED: "var(--muted)", RULE: "var(--rule)", PAPER: "var(--paper)"} | {
    shade: f"var(--series-{number})" for number, shade in enumerate(PALETTE)
}
_COLOUR = re.compile("|".join(_THEME))
_REFERENCE = re.compile(r'(?<=\bid=")|(?<=href="#)|(?<=url\(#)')
_DROPPED = re.compile(
    r"<style.*?</style>|<metadata>.*?</metadata>|font-family: [^;\"]*; ", re.DOTALL
)
_SIZE = re.compile(r'viewBox="0 0 ([\d.]+) [\d.]+"')


def inline_svg(svg: str, prefix: str, label: str) -> Markup:
    """Return a figure of `nodelens.reports.figures` as an ``<svg>`` element for a page.

    Its ink, rules, paper and series take the page's colours (light and dark), its text the page's
    font; `prefix` keeps its ids apart from those of other figures; `label` is read out to people
    who do not see it.
    """
    match = _SIZE.search(svg)
    width = float(match[1]) if match else 0.0
    body = _DROPPED.sub("", svg[svg.index(">", svg.index("<svg")) + 1 :])
    body = _REFERENCE.sub(f"{prefix}-", body).replace("xlink:href", "href")
    body = body.replace(f"fill: {PAPER}", "fill: none")
    body = _COLOUR.sub(lambda found: _THEME[found[0]], body)
    box = match[0] if match else ""
    opening = f'<svg {box} role="img" aria-label="{escape(label)}" style="--width: {width:.0f}pt">'
    return Markup(opening + body)  # matplotlib escapes every text that it writes

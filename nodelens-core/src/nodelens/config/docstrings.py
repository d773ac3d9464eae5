"""The documentation of options, taken from class docstrings.

The one convention: a section ``Attributes:`` with one ``name: text`` entry per option, further
lines of an entry indented deeper. Options without an entry have no documentation. Read by hand:
docstring-parser raises `ParseError` for some entries of two lines.
"""

from __future__ import annotations

import inspect
import re

_ENTRY = re.compile(r"(\w+)\s*:\s*(.*)")


def summary(cls: type) -> str:
    """Return the first paragraph of a class's own docstring as one line."""
    first = (cls.__doc__ or "").strip().split("\n\n")[0]
    return " ".join(first.split())


def attribute_docs(cls: type) -> dict[str, str]:
    """Return the text of every entry under ``Attributes:``, bases first, each on one line."""
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        docs.update(_entries(base.__dict__.get("__doc__") or ""))
    return docs


def _entries(docstring: str) -> dict[str, str]:
    lines = inspect.cleandoc(docstring).splitlines()
    if "Attributes:" not in lines:
        return {}
    docs: dict[str, str] = {}
    margin, name = 0, ""
    for line in lines[lines.index("Attributes:") + 1 :]:
        indent = len(line) - len(line.lstrip())
        if line.strip() and indent == 0:
            break
        margin = margin or indent
        entry = _ENTRY.fullmatch(line.strip())
        if entry and indent == margin:
            name = entry[1]
            docs[name] = entry[2]
        elif name and line.strip():
            docs[name] = f"{docs[name]} {line.strip()}".strip()
    return docs

"""The documentation of options, taken from class docstrings.

The one convention: a section ``Attributes:`` with one ``name: text`` entry per option, further
lines of an entry indented deeper. An option without an entry has what
`nodelens.scoring.shared_options` keeps with the field, or no documentation. Read by hand:
docstring-parser raises `ParseError` for some entries of two lines.
"""

from __future__ import annotations

import inspect
import re

import attrs

DOC = "doc"
"""The key of a field's metadata that holds the documentation of an option."""

_ENTRY = re.compile(r"(\w+)\s*:\s*(.*)")


def summary(cls: type) -> str:
    """Return the first paragraph of a class's own docstring as one line."""
    first = (cls.__doc__ or "").strip().split("\n\n")[0]
    return " ".join(first.split())


def attribute_docs(cls: type) -> dict[str, str]:
    """Return what is said of every option: at the field, or under ``Attributes:``, bases first."""
    fields = attrs.fields(cls) if attrs.has(cls) else ()
    docs = {field.name: field.metadata[DOC] for field in fields if DOC in field.metadata}
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

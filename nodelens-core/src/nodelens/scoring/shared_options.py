"""Options of metrics with documentation, test values and bounds in one field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import field

from nodelens.config.docstrings import DOC

EXAMPLES, BESIDE = "examples", "beside"
"""The keys of an option's metadata, other than the documentation."""


def option(
    default: Any,
    *validators: Any,
    doc: str = "",
    examples: Sequence[Any] = (),
    beside: Mapping[str, Any] | Sequence[Mapping[str, Any]] = (),
) -> Any:
    """Make one option of a metric: an attrs field.

    Args:
        default: the value where the config gives none.
        validators: what a value has to satisfy, of `attrs.validators`.
        doc: what the option is, in place of an entry under ``Attributes:`` of the class docstring;
            for options that several metrics share.
        examples: other values, by which the author kit tests the option; without any the kit draws
            values from the type and the bounds.
        beside: other options without which this one changes nothing on a small layer; several
            settings are tried one after the other.

    Returns:
        The field, to be assigned to an annotated attribute.

    Example:
        ::

            samples: int = option(2048, ge(8), doc="rows that are drawn", examples=[24])
    """
    settings = [beside] if isinstance(beside, Mapping) else beside
    notes = {DOC: doc, EXAMPLES: examples, BESIDE: settings}
    return field(
        default=default,
        validator=list(validators) or None,
        metadata={name: value for name, value in notes.items() if value},
    )

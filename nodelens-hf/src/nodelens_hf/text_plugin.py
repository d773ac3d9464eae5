"""Plugin with text as data; imports nothing heavy."""

from __future__ import annotations

from nodelens import hookimpl
from nodelens.plugins.specs import DatasetSpec


@hookimpl
def nodelens_register_datasets() -> list[DatasetSpec]:
    """Return the dataset of text."""
    return [
        DatasetSpec(
            name="text",
            target="nodelens_hf.text:Text",
            summary="Text files as rows of tokens.",
        )
    ]

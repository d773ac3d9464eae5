"""What the distribution offers; imports nothing heavy."""

from __future__ import annotations

from nodelens import hookimpl
from nodelens.plugins.specs import BackendSpec, DatasetSpec


@hookimpl
def nodelens_register_backends() -> list[BackendSpec]:
    """Offer the model backends."""
    return [
        BackendSpec(
            name="hf",
            target="nodelens_hf.backend:HuggingFace",
            summary="A transformers model: from a folder, the hub, or a configuration.",
        )
    ]


@hookimpl
def nodelens_register_datasets() -> list[DatasetSpec]:
    """Offer the datasets."""
    return [
        DatasetSpec(
            name="text",
            target="nodelens_hf.text:Text",
            summary="Text files as rows of tokens.",
        )
    ]

"""What the distribution offers; imports nothing heavy."""

from __future__ import annotations

from nodelens import hookimpl
from nodelens.plugins.specs import BackendSpec


@hookimpl
def nodelens_register_backends() -> list[BackendSpec]:
    """Offer the model backends."""
    return [
        BackendSpec(
            name="hf_image_classifier",
            target="nodelens_hf.image_classifier:ImageClassifier",
            summary="Image classifier of transformers, from a local folder or a configuration.",
        )
    ]

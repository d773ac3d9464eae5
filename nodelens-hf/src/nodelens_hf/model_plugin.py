"""Plugin with the models of transformers; imports nothing heavy."""

from __future__ import annotations

from nodelens import hookimpl
from nodelens.plugins.specs import BackendSpec


@hookimpl
def nodelens_register_backends() -> list[BackendSpec]:
    """Return the model backend."""
    return [
        BackendSpec(
            name="hf",
            target="nodelens_hf.backend:HuggingFace",
            summary="A transformers model: from a folder, the hub, or a configuration.",
        )
    ]

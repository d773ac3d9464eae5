"""Plugin with the models of transformers; imports nothing heavy."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from nodelens import hookimpl
from nodelens.plugins.specs import BackendSpec

if TYPE_CHECKING:
    from torch.nn import Module

    from nodelens.interfaces.loss import ModelLabels


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


@hookimpl
def nodelens_labels(model: Module) -> ModelLabels | None:
    """Say what labels mean to a transformers model, whose library is imported already."""
    if "transformers" not in sys.modules:
        return None
    from nodelens_hf.model_labels import labels_of

    return labels_of(model)

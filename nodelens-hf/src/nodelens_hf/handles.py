"""A transformers model made ready to be studied."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodelens.models.contract import ModelHandle
from nodelens_hf.hints import HINTS

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from nodelens_hf.backend import HuggingFace


def handle_of(
    model: PreTrainedModel, origin: str, backend: HuggingFace, *, pretrained: bool = False
) -> ModelHandle:
    """Return the handle of a model in evaluation mode, without a key–value cache."""
    notes: dict[str, str] = {"task": backend.task}
    if getattr(model.config, "use_cache", None):
        model.config.use_cache = False
        notes["use_cache"] = "switched off: every forward reads whole windows"
    placed = backend.device_map is not None
    model.train(False)
    return ModelHandle(
        model,
        origin,
        pretrained=pretrained,
        notes=notes,
        hints=HINTS,
        placed=placed,
        vocabulary=getattr(model.config.get_text_config(), "vocab_size", None),
    )

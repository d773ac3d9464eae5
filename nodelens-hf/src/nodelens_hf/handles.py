"""Handles of transformers models, ready to be studied."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from nodelens.interfaces.backend import ModelHandle
from nodelens_hf.compatibility import positions_of, vocabulary_of
from nodelens_hf.hints import HINTS
from nodelens_hf.own_losses import loss_of_task
from nodelens_hf.remote_code import is_remote, remote_files

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn
    from transformers import PreTrainedModel

    from nodelens_hf.backend import HuggingFace


def handle_of(
    model: PreTrainedModel, origin: str, backend: HuggingFace, *, pretrained: bool = False
) -> ModelHandle:
    """Return the handle of a model in evaluation mode, without a key–value cache.

    A model whose class came with its weights is not saved: no folder would load without that code.
    """
    notes: dict[str, str] = {"task": backend.task}
    if getattr(model.config, "use_cache", None):
        model.config.use_cache = False
        notes["use_cache"] = "switched off: every forward reads whole windows"
    cached = "use_cache" in notes
    if is_remote(model):
        notes["remote_code"] = remote_files(model)
    placed = backend.device_map is not None
    model.train(False)
    return ModelHandle(
        model,
        origin,
        pretrained=pretrained,
        notes=notes,
        hints=HINTS,
        placed=placed,
        vocabulary=vocabulary_of(model),
        positions=positions_of(model),
        loss=loss_of_task(backend.task, model.config),
        save=None if is_remote(model) else partial(_save, backend, cached),
    )


def _save(
    backend: HuggingFace, cached: bool, model: nn.Module, folder: Path, facts: Mapping[str, Any]
) -> str:
    """Write a pruned model with tokenizer and card, and return the call that loads the folder."""
    from nodelens_hf.cards import model_card
    from nodelens_hf.progress_bars import without_bars
    from nodelens_hf.saving import save
    from nodelens_hf.tasks import TASKS
    from nodelens_hf.tokenizers import tokenizer_of

    written: Any = model
    tokenizer = tokenizer_of(backend.pretrained, backend.gguf_file, backend.revision)
    with without_bars(), _caching(written, cached):
        loader = save(written, folder, tokenizer=tokenizer, card=model_card(facts))
    if loader == "transformers":
        return f"transformers.{TASKS[backend.task].auto}.from_pretrained(folder)"
    return "nodelens_hf.load(folder)"


@contextmanager
def _caching(model: PreTrainedModel, wanted: bool) -> Iterator[None]:
    """Let the configuration say that the model caches, while a folder is written."""
    config = model.config
    if wanted:
        config.use_cache = True
    try:
        yield
    finally:
        for each in (
            (config, model.config) if wanted else ()
        ):  # saving may replace the configuration
            each.use_cache = False

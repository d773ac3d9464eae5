"""Checks that a model, its tokenizer and the windows of an evaluation fit together."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from nodelens.errors import DataError, ModelError

if TYPE_CHECKING:
    from torch import Tensor, nn

_TABLE = re.compile(r"^(wpe|embed_positions|positions_embed|position_embeddings?)$")
"""Names of tables of learned positions."""


def check_window(model: nn.Module, window: int) -> None:
    """Raise `DataError` for windows with more positions than the model has."""
    limit = getattr(getattr(model, "config", None), "max_position_embeddings", None)
    if isinstance(limit, int) and window > limit:
        raise DataError(f"a window of {window} tokens is longer than the model's {limit} positions")


def positions_of(model: nn.Module) -> int | None:
    """Return the number of positions in a model's table; None without a table.

    A model that computes its positions (rotary, ALiBi) also reads positions beyond its training.
    Some tables begin after the number of the padding token.
    """
    limit = getattr(getattr(model, "config", None), "max_position_embeddings", None)
    if limit is None:
        limit = getattr(getattr(model, "config", None), "n_positions", None)
    found = [
        module.num_embeddings - (module.padding_idx + 1 if module.padding_idx is not None else 0)
        for path, module in model.named_modules()
        if hasattr(module, "num_embeddings") and _TABLE.search(path.rpartition(".")[2])
    ]
    return min([*found, limit]) if found and isinstance(limit, int) else None


def vocabulary_of(model: nn.Module) -> int | None:
    """Return the number of token ids that a model takes; None if its config does not say."""
    config: Any = getattr(model, "config", None)
    if hasattr(config, "get_text_config"):
        config = config.get_text_config()
    found = getattr(config, "vocab_size", None)
    return found if isinstance(found, int) else None


def check_vocabulary(model: nn.Module, inputs: Tensor) -> None:
    """Raise `DataError` for token ids ``(rows, positions)`` without an embedding in the model."""
    size, largest = vocabulary_of(model), int(inputs.max())
    if size is not None and largest >= size:
        raise DataError(
            f"the data hold token {largest} and {type(model).__name__} has {size} tokens; "
            "use the tokenizer that belongs to the model"
        )


def check_causal(model: nn.Module) -> None:
    """Raise `ModelError` for a model whose attention reaches the token to predict."""
    if _reads_ahead(model):
        raise ModelError(
            f"{type(model).__name__} is a masked language model: it reads the token that it would "
            "predict, so that the likelihood of a text means nothing; use its loss on masked "
            "tokens (data.objective: masked)"
        )


def _reads_ahead(model: nn.Module) -> bool:
    """Return whether transformers lists the class among masked language models.

    Some types have a causal class too, which is causal only with ``is_decoder``.
    """
    from transformers.models.auto import modeling_auto as listed

    config: Any = getattr(model, "config", None)
    kind, name = str(getattr(config, "model_type", None)), type(model).__name__
    if name == listed.MODEL_FOR_MASKED_LM_MAPPING_NAMES.get(kind):
        return not getattr(config, "causal", False)  # xlm has one class for both
    both = kind in listed.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    causal = name == listed.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(kind)
    decoder = getattr(config, "is_decoder", True) or getattr(config, "is_encoder_decoder", False)
    return both and causal and not decoder

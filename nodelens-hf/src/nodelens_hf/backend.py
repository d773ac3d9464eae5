"""Models of the transformers library, pretrained or with random weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

from attrs import field, frozen, validators

from nodelens.errors import DataError, ModelError
from nodelens_hf.tasks import Task, check_objective

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nodelens.interfaces.backend import ModelHandle, ModelRequest

Precision = Literal["auto", "float32", "bfloat16", "float16"]
Attention = Literal["auto", "eager", "sdpa", "flash_attention_2"]
_LIKELIHOODS = ("perplexity", "multiple_choice", "lm_eval")
"""Evaluations of the likelihood of a text."""


@frozen
class HuggingFace:
    """A transformers model for a task.

    Exactly one of `pretrained` and `config` is given. Weights are read from safetensors unless
    pickled ones are allowed. Code that comes with a model is run with
    ``--trust-remote-code`` only.

    Attributes:
        task: purpose of the model; decides the class that is loaded.
        pretrained: a folder that ``save_pretrained`` wrote, or the id of a model on the hub.
        config: ``model_type`` and any fields of that type's configuration; random weights.
        revision: the hub's branch, tag or commit; only with a hub id.
        gguf_file: a GGUF file in the folder, read instead of safetensors.
        dtype: precision of the weights; auto takes the stored one.
        attention: implementation of attention; auto leaves it to transformers.
        device_map: how accelerate spreads a large model over devices, such as auto.
        labels: for classification, the classes of the data in the order of the model's outputs;
            null takes the names of a pretrained head.
        allow_pickle: read pickled weights where there are no safetensors, by torch's unpickler of
            weights alone.
    """

    task: Task = field(default="causal_lm", validator=validators.in_(get_args(Task)))
    pretrained: str | None = None
    config: dict[str, Any] | None = None  # Any: each model type has fields of its own
    revision: str | None = None
    gguf_file: str | None = None
    dtype: Precision = field(default="float32", validator=validators.in_(get_args(Precision)))
    attention: Attention = field(default="auto", validator=validators.in_(get_args(Attention)))
    device_map: str | None = None
    allow_pickle: bool = False
    labels: tuple[str, ...] | None = None

    def check(self, dataset: object, evaluations: Sequence[str]) -> None:
        """Raise `DataError` for text and evaluations that do not fit the task's models."""
        from nodelens_hf.text import Text

        if isinstance(dataset, Text):
            check_objective(self.task, dataset.objective)
        asked = [name for name in evaluations if name in _LIKELIHOODS]
        if self.task == "masked_lm" and asked:
            raise DataError(
                f"evaluations: {', '.join(asked)}: a masked_lm model reads the token that it "
                "would predict; leave it out: the evaluation on data.objective: masked gives the "
                "loss of masked tokens"
            )

    def build(self, request: ModelRequest) -> ModelHandle:
        """Load or make the model; raises `ModelError` for anything missing or unfit."""
        if (self.pretrained is None) == (self.config is None):
            raise ModelError("model: hf needs either pretrained (a folder or a hub id) or config")
        from nodelens_hf.class_labels import with_labels

        request = with_labels(self, request)
        if self.pretrained is not None:
            from nodelens_hf.pretrained import load_pretrained

            return load_pretrained(self, request)
        from nodelens_hf.random_weights import make_random

        return make_random(self, request)

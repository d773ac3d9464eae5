"""Models with random weights, from a configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import evolve

from nodelens.errors import ModelError, did_you_mean
from nodelens_hf.handles import handle_of
from nodelens_hf.tasks import TASKS, auto_class, fields_of

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from nodelens.interfaces.backend import ModelHandle, ModelRequest
    from nodelens_hf.backend import HuggingFace


def make_random(backend: HuggingFace, request: ModelRequest) -> ModelHandle:
    """Make a model from a backend's configuration, with weights drawn by the request's seed."""
    import torch

    config = _config(backend, request)
    options: dict[str, Any] = {"trust_remote_code": False}
    if backend.dtype != "auto":
        options["dtype"] = getattr(torch, backend.dtype)
    if backend.attention != "auto":
        options["attn_implementation"] = backend.attention
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(request.seed)
        try:
            model = auto_class(backend.task).from_config(config, **options)
        except (ValueError, ImportError, TypeError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ModelError(
                f"model: {config.model_type} cannot be a {backend.task} model: {reason}"
            ) from error
    handle = handle_of(model, f"{type(model).__name__} with random weights", backend)
    return evolve(handle, classes=backend.labels)


def _config(backend: HuggingFace, request: ModelRequest) -> PretrainedConfig:
    from huggingface_hub.errors import StrictDataclassError
    from transformers import CONFIG_MAPPING, AutoConfig

    fields = dict(backend.config or {})
    kind = fields.pop("model_type", None)
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        hint = did_you_mean(str(kind), CONFIG_MAPPING) if kind else "; such as llama, bert or vit"
        raise ModelError(f"model: config.model_type is {kind!r}{hint}")
    if TASKS[backend.task].images and len(request.input_shape) != 3:
        raise ModelError(
            "model: image_classification needs images (channels, height, width), "
            f"got samples of shape {request.input_shape}"
        )
    try:
        return AutoConfig.for_model(kind, **{**fields_of(backend.task, request), **fields})
    except (TypeError, ValueError, StrictDataclassError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
        raise ModelError(f"model: the configuration of {kind}: {reason}") from error

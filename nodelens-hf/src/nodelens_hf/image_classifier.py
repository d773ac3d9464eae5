"""Image classifiers of the transformers library."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from nodelens.errors import ModelError, did_you_mean
from nodelens.models.contract import ModelHandle, ModelRequest

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@frozen
class ImageClassifier:
    """An ``AutoModelForImageClassification``: pretrained from a folder, or random from a config.

    Exactly one of `folder` and `config` is given. Weights are read from safetensors only, and no
    code of the folder is executed. From a config, the number of labels, the channels and the image
    size follow the data.

    Attributes:
        folder: a folder written by ``save_pretrained``; nothing is downloaded.
        config: ``model_type`` and any fields of that type's configuration.
    """

    folder: str | None = None
    config: dict[str, Any] | None = None  # Any: each model type has fields of its own

    def build(self, request: ModelRequest) -> ModelHandle:
        """Load or make the model; raises `ModelError` with what is missing."""
        if (self.folder is None) == (self.config is None):
            raise ModelError("hf_image_classifier: give either folder or config")
        if self.folder is not None:
            return _pretrained(Path(self.folder))
        assert self.config is not None
        return _random(self.config, request)


def _pretrained(folder: Path) -> ModelHandle:
    from safetensors import SafetensorError
    from transformers import AutoModelForImageClassification

    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder}: no config.json there; give a folder of save_pretrained")
    if not list(folder.glob("*.safetensors")):
        raise ModelError(
            f"{folder}: no safetensors file there; pickled weights are not read, convert them with "
            "save_pretrained(safe_serialization=True)"
        )
    try:
        model = AutoModelForImageClassification.from_pretrained(
            str(folder), local_files_only=True, use_safetensors=True, trust_remote_code=False
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(f"{folder}: {str(error).splitlines()[0]}") from error
    return ModelHandle(model.eval(), f"{type(model).__name__} from {folder}", pretrained=True)


def _random(fields: dict[str, Any], request: ModelRequest) -> ModelHandle:
    import torch
    from transformers import AutoModelForImageClassification

    config = _config(fields, request)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(request.seed)
        try:
            model = AutoModelForImageClassification.from_config(  # type: ignore[no-untyped-call]
                config, trust_remote_code=False
            )
        except ValueError as error:
            raise ModelError(
                f"hf_image_classifier: {config.model_type} is not an image classifier: "
                f"{str(error).splitlines()[0]}"
            ) from error
    return ModelHandle(model.eval(), f"{type(model).__name__} with random weights")


def _config(fields: dict[str, Any], request: ModelRequest) -> PretrainedConfig:
    from transformers import CONFIG_MAPPING, AutoConfig

    kind = fields.get("model_type")
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        hint = did_you_mean(str(kind), CONFIG_MAPPING) if kind else "; such as resnet or vit"
        raise ModelError(f"hf_image_classifier: config.model_type is {kind!r}{hint}")
    if len(request.input_shape) != 3:
        raise ModelError(
            "hf_image_classifier needs images (channels, height, width), "
            f"got samples of shape {request.input_shape}"
        )
    channels, height, _ = request.input_shape
    shaped = {"num_labels": request.classes, "num_channels": channels, "image_size": height}
    rest = {key: value for key, value in fields.items() if key != "model_type"}
    return AutoConfig.for_model(kind, **{**shaped, **rest})

"""A model of the user's own, built by a function that the config names."""

from __future__ import annotations

from typing import Any

from attrs import field, frozen, validators

from nodelens.interfaces.backend import ModelHandle, ModelRequest


@frozen
class Imported:
    """A model that a function of your own returns; allowed with ``--allow-import PREFIX`` only.

    Attributes:
        path: ``module:function``; the function returns a torch.nn.Module.
        arguments: keyword arguments for the function.
        weights: a safetensors file with the model's state dict.
        pretrained: say that the function itself returns trained weights.
    """

    path: str = field(
        validator=validators.matches_re(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*"),
        metadata={"expected": "module:function"},
    )
    arguments: dict[str, Any] = field(factory=dict)  # Any: the function's own arguments
    weights: str | None = None
    pretrained: bool = False

    def build(self, request: ModelRequest) -> ModelHandle:
        """Import the module, call the function and load the weights.

        Raises `ModelError` where the module is not allowed or the function fails.
        """
        from nodelens.models.importing import build_module, check_allowed

        check_allowed("model.path", self.path, request.allow_import)
        module = build_module(self.path, self.arguments, request)
        if self.weights is not None:
            from nodelens.models.weights_file import load_weights

            load_weights(module, self.weights)
        return ModelHandle(
            module,
            origin=f"{self.path}, {self.weights or 'weights as the function returns them'}",
            pretrained=self.pretrained or self.weights is not None,
        )

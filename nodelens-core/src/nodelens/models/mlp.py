"""The reference multilayer perceptron: options only, the network is in `networks.perceptron`."""

from __future__ import annotations

from typing import Literal

from attrs import field, frozen

from nodelens.interfaces.backend import ModelHandle, ModelRequest
from nodelens.models.limits import check_memory, widths

Activation = Literal["relu", "gelu", "silu", "tanh"]


@frozen
class MLP:
    """A multilayer perceptron on flattened samples of any shape.

    Attributes:
        hidden: the number of neurons of every hidden layer.
        activation: the nonlinearity after every hidden layer.
    """

    hidden: tuple[int, ...] = field(default=(128, 64), validator=widths())
    activation: Activation = "relu"

    def build(self, request: ModelRequest) -> ModelHandle:
        from nodelens.model_state import own_randomness
        from nodelens.models.networks.perceptron import Perceptron

        shape = (request.input_shape, request.classes, self.hidden, self.activation)
        check_memory(lambda: Perceptron(*shape), "mlp")
        with own_randomness(request.seed, "model", "weights"):
            module = Perceptron(*shape)
        sizes = "-".join(str(width) for width in self.hidden) or "none"
        return ModelHandle(module, origin=f"reference mlp, hidden {sizes}, random weights")

"""The reference residual network: options only, the network is in `networks.residual`."""

from __future__ import annotations

from typing import Literal

from attrs import field, frozen, validators

from nodelens.interfaces.backend import ModelHandle, ModelRequest
from nodelens.models.image_shape import image_shape
from nodelens.models.limits import WIDTH, check_memory


@frozen
class ResNet:
    """A residual network of basic blocks; with the defaults, ResNet-18 for small images.

    Attributes:
        blocks: the number of blocks of every stage; every stage after the first doubles the
        channels
            and halves height and width.
        width: the number of channels of the first stage.
        stem: the first layers, ``small`` for images up to about 64 pixels (they keep the size),
            ``large`` for photographs (they quarter height and width).
    """

    blocks: tuple[int, ...] = field(
        default=(2, 2, 2, 2),
        validator=validators.deep_iterable(
            validators.and_(validators.gt(0), validators.le(1024)),
            validators.and_(validators.min_len(1), validators.max_len(8)),
        ),
    )
    width: int = field(default=64, validator=WIDTH)
    stem: Literal["small", "large"] = "small"

    def build(self, request: ModelRequest) -> ModelHandle:
        """Build the network; equal requests give equal weights.

        Raises `nodelens.errors.ModelError` for samples that are no images.
        """
        from nodelens.model_state import own_randomness
        from nodelens.models.networks.residual import ResidualNetwork

        inputs, _, _ = image_shape(request.input_shape, "resnet")
        shape = (inputs, request.classes, self.blocks, self.width, self.stem)
        check_memory(lambda: ResidualNetwork(*shape), "resnet")
        with own_randomness(request.seed, "model", "weights"):
            module = ResidualNetwork(*shape)
        blocks = "-".join(str(count) for count in self.blocks)
        origin = f"reference resnet, blocks {blocks}, width {self.width}, random weights"
        return ModelHandle(module, origin=origin)

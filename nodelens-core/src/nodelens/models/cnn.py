"""The reference convolutional network: options only, the network is in `networks.convolutional`."""

from __future__ import annotations

from typing import Any, Literal

from attrs import Attribute, field, frozen, validators

from nodelens.errors import ModelError
from nodelens.interfaces.backend import ModelHandle, ModelRequest
from nodelens.models.image_shape import image_shape
from nodelens.models.limits import check_memory, widths

Activation = Literal["relu", "gelu", "silu", "tanh"]


def _odd(_: object, attribute: Attribute[Any], value: int) -> None:
    if value % 2 == 0:  # only odd kernels have a centre and keep the size of the map
        raise ValueError(f"{attribute.name!r} must be odd, got {value}")


@frozen
class CNN:
    """A plain convolutional network for images of any size.

    Attributes:
        channels: the number of channels of every convolution block.
        kernel_size: the side of every kernel, odd.
        batch_norm: normalise after every convolution.
        activation: the nonlinearity of every block.
        pooling: how every block halves height and width at its end.
        readout: what the classifier reads: all positions of the last map, or each channel's
        average.
    """

    channels: tuple[int, ...] = field(
        default=(16, 32),
        validator=widths(validators.min_len(1)),
    )
    kernel_size: int = field(default=3, validator=[validators.ge(1), validators.le(1023), _odd])
    batch_norm: bool = True
    activation: Activation = "relu"
    pooling: Literal["max", "average", "none"] = "max"
    readout: Literal["flatten", "average"] = "flatten"

    def build(self, request: ModelRequest) -> ModelHandle:
        """Build the network; equal requests give equal weights.

        Raises `ModelError` for samples that are no images and for images too small for the pooling.
        """
        from nodelens.model_state import own_randomness
        from nodelens.models.networks.convolutional import BlockOptions, ConvolutionalNetwork

        inputs, height, width = image_shape(request.input_shape, "cnn")
        positions = self._positions(height, width)
        options = BlockOptions(self.kernel_size, self.batch_norm, self.activation, self.pooling)
        shape = ((inputs, *self.channels), options, positions, request.classes)
        check_memory(lambda: ConvolutionalNetwork(*shape), "cnn")
        with own_randomness(request.seed, "model", "weights"):
            module = ConvolutionalNetwork(*shape)
        channels = "-".join(str(count) for count in self.channels)
        return ModelHandle(module, origin=f"reference cnn, channels {channels}, random weights")

    def _positions(self, height: int, width: int) -> int | None:
        """Return how many positions of the last map the head reads, None if it reads averages."""
        halvings = 0 if self.pooling == "none" else len(self.channels)
        last_height, last_width = height >> halvings, width >> halvings
        if min(last_height, last_width) < 1:
            raise ModelError(
                f"images of {height}x{width} are too small to be halved {halvings} times; "
                f"give at most {min(height, width).bit_length() - 1} channels, or pooling: none"
            )
        return None if self.readout == "average" else last_height * last_width

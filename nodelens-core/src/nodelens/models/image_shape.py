"""The shape of samples that convolutional models can read."""

from __future__ import annotations

from nodelens.errors import ModelError


def image_shape(shape: tuple[int, ...], model: str) -> tuple[int, int, int]:
    """Return (channels, height, width); raises `ModelError` with a way out for other shapes."""
    if len(shape) == 3 and min(shape) > 0:
        return shape
    hint = "choose model mlp"
    if len(shape) == 2:
        hint = "let the data give a channel axis (arrays: channels: none), or choose model mlp"
    raise ModelError(
        f"{model} needs images of shape (channels, height, width), "
        f"samples have the shape {shape}; {hint}"
    )

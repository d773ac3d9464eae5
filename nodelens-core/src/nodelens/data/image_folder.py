"""The dataset of images in one folder per class."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from attrs import field, frozen, validators

if TYPE_CHECKING:
    from nodelens.interfaces.dataset import LoadedData


@frozen
class ImageFolder:
    """Images in one folder per class: ``folder/cat/1.png``, ``folder/dog/2.jpg``.

    With subfolders ``train`` and (optionally) ``test``, each of them holds the folders of the
    classes. Values become float32 in [0, 1]. Needs pillow: ``pip install nodelens-core[images]``.

    Attributes:
        path: the folder.
        size: resize every image to this height and width, or to (height, width); the aspect ratio
        is
            not kept. Without it, all images must have one size.
        grayscale: one channel in place of red, green and blue.
    """

    path: str = field(validator=validators.min_len(1))
    size: int | tuple[int, int] | None = None
    grayscale: bool = False

    def __attrs_post_init__(self) -> None:
        sides = (self.size,) if isinstance(self.size, int) else self.size or ()
        if any(side < 1 for side in sides):
            raise ValueError(f"'size' must be at least 1, got {self.size}")

    def load(self) -> LoadedData:
        from nodelens.data.image_files import ImageReader, read_folder

        size = (self.size, self.size) if isinstance(self.size, int) else self.size
        return read_folder(Path(self.path), ImageReader(size, self.grayscale))

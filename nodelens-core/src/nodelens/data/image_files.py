"""Reading folders of images with pillow."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from attrs import frozen

from nodelens.data.class_names import ordered
from nodelens.data.file_faults import FAULTS, check_regular
from nodelens.errors import DataError
from nodelens.interfaces.dataset import LoadedData, Samples

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

SUFFIXES = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
MOST_PIXELS = 1 << 26
"""An image of more pixels is refused before they are unpacked."""


@frozen
class ImageReader:
    """The reader of one image file into an array."""

    size: tuple[int, int] | None
    grayscale: bool

    def read(self, path: Path) -> NDArray[np.float32]:
        """Return ``(channels, height, width)`` in [0, 1]; raises `DataError` naming the file."""
        from PIL import Image

        check_regular(path)
        try:
            with _without_warnings(), Image.open(path) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise ValueError(
                        f"it declares {image.width} x {image.height} pixels, and at most "
                        f"{MOST_PIXELS:,} are read"
                    )
                pixels = np.asarray(self._converted(image), dtype=np.float32) / np.float32(255)
        except (*FAULTS, Image.DecompressionBombError) as error:
            raise DataError(
                f"{path}: cannot be read as an image ({error}); remove or replace the file"
            ) from error
        return pixels[None] if self.grayscale else pixels.transpose(2, 0, 1)

    def _converted(self, image: Image) -> Image:
        from PIL.Image import Resampling

        if image.mode.startswith(("I", "F")):
            raise ValueError(f"its pixels have more than 8 bits, mode {image.mode}")
        if image.mode == "P":  # a palette may hold transparency, which only RGBA expresses
            image = image.convert("RGBA")
        image = image.convert("L" if self.grayscale else "RGB")
        if self.size is None:
            return image
        height, width = self.size
        return image.resize((width, height), Resampling.BILINEAR)


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Leave out pillow's warnings about metadata, which is not used, and about many pixels."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def read_folder(root: Path, reader: ImageReader) -> LoadedData:
    """Return the samples below `root`; raises `DataError` for missing and unfit files."""
    _require_pillow()
    if not root.is_dir():
        raise DataError(f"there is no folder {root} (looked in {Path.cwd()})")
    train, test = root / "train", root / "test"
    divided = bool(_folders(train))
    source = train if divided else root
    classes = tuple(folder.name for folder in _folders(source))
    if not classes:
        raise DataError(f"{source}: no folders; expected one folder of images per class")
    return LoadedData(
        samples=_samples(source, classes, reader),
        classes=classes,
        test=_test_samples(test, classes, reader) if divided and test.is_dir() else None,
        origin=f"images of {root}",
    )


def _require_pillow() -> None:
    try:
        import PIL.Image  # noqa: F401
    except ImportError as error:
        raise DataError(
            "reading images needs pillow; install it with: pip install 'nodelens-core[images]'"
        ) from error


def _folders(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    found = {path.name: path for path in root.iterdir() if path.is_dir() and path.name[0] != "."}
    return [found[name] for name in ordered(found)]


def _test_samples(root: Path, classes: Sequence[str], reader: ImageReader) -> Samples:
    unknown = [folder.name for folder in _folders(root) if folder.name not in classes]
    if unknown:
        raise DataError(
            f"{root}: classes that the training folder does not have: {', '.join(unknown)}; "
            f"known: {', '.join(classes)}"
        )
    return _samples(root, classes, reader)


def _samples(root: Path, classes: Sequence[str], reader: ImageReader) -> Samples:
    files, targets = [], []
    for folder in _folders(root):
        found = _images(folder)
        files += found
        targets += [classes.index(folder.name)] * len(found)
    if not files:
        raise DataError(f"{root}: no folders; expected one folder of images per class")
    images = [reader.read(file) for file in files]
    _check_sizes(files, images)
    return Samples(torch.from_numpy(np.stack(images)), torch.tensor(targets, dtype=torch.int64))


def _images(folder: Path) -> list[Path]:
    found = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and (path.is_file() or not path.exists())
    )
    found = [path for path in found if path.name[0] != "."]
    if not found:
        raise DataError(
            f"{folder}: no images; read are files that end in {', '.join(sorted(SUFFIXES))}"
        )
    return found


def _check_sizes(files: Sequence[Path], images: Sequence[NDArray[np.float32]]) -> None:
    for file, image in zip(files, images, strict=True):
        if image.shape != images[0].shape:
            (_, height, width), (_, first_height, first_width) = image.shape, images[0].shape
            raise DataError(
                f"{file} has {width}x{height} pixels, {files[0]} has {first_width}x{first_height}; "
                "give size to bring all images to one"
            )

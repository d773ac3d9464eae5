"""The dataset of idx files, the file format of MNIST and its relatives."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from nodelens.errors import DataError

if TYPE_CHECKING:
    from nodelens.data.idx_files import IdxPart
    from nodelens.interfaces.dataset import LoadedData

_NAMES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}


@frozen
class Idx:
    """Idx files of the MNIST family (MNIST, Fashion-MNIST, KMNIST, EMNIST), plain or gzipped.

    Images become float32 in [0, 1]. Without test files, test samples are taken from the training
    files.

    Attributes:
        folder: where files with MNIST's usual names lie, with or without ``.gz``.
        train_images: a file of images, in place of the usual name in `folder`.
        train_labels: a file of labels, in place of the usual name in `folder`.
        test_images: a file of test images, in place of the usual name in `folder`.
        test_labels: a file of test labels, in place of the usual name in `folder`.
    """

    folder: str | None = None
    train_images: str | None = None
    train_labels: str | None = None
    test_images: str | None = None
    test_labels: str | None = None

    def __attrs_post_init__(self) -> None:
        if self.folder is None and (self.train_images is None or self.train_labels is None):
            raise DataError("idx needs folder, or both train_images and train_labels")

    def load(self) -> LoadedData:
        from nodelens.data.idx_files import as_loaded

        train = self._part("train", required=True)
        assert train is not None, "a required part is there, or an error was raised"
        return as_loaded(train, self._part("test", required=False))

    def _part(self, part: str, required: bool) -> IdxPart | None:
        from nodelens.data.idx_files import IdxPart

        images, labels = self._file(f"{part}_images"), self._file(f"{part}_labels")
        if images is not None and labels is not None:
            return IdxPart(images, labels)
        if not required and images is None and labels is None:
            return None
        missing = f"{part}_images" if images is None else f"{part}_labels"
        where = f"in {self.folder}" if self.folder is not None else "is given"
        raise DataError(
            f"idx: no file of {missing.replace('_', ' ')} {where}; "
            f"expected {_NAMES[missing]} or {_NAMES[missing]}.gz there, or give {missing}"
        )

    def _file(self, name: str) -> Path | None:
        """Return the given path, else the file of the usual name in the folder, else None."""
        given: str | None = getattr(self, name)
        if given is not None or self.folder is None:
            return Path(given) if given is not None else None
        folder = Path(self.folder)
        if not folder.is_dir():
            raise DataError(f"idx: there is no folder {folder} (looked in {Path.cwd()})")
        usual = _NAMES[name]
        dotted = usual.replace("-idx", ".idx")  # how some archives unpack
        candidates = [folder / f"{stem}{end}" for stem in (usual, dotted) for end in ("", ".gz")]
        return next((path for path in candidates if path.is_file()), None)

"""The splits of a dataset: training, validation, calibration and test samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from attrs import frozen

from nodelens.capture.batches import Batch
from nodelens.data.integrity import check_loaded
from nodelens.data.normalization import Normalization, measure
from nodelens.data.stratified_sampling import draw_balanced, draw_stratified
from nodelens.errors import DataError
from nodelens.interfaces.dataset import LoadedData, Samples
from nodelens.seeding import generator

if TYPE_CHECKING:
    from nodelens.config.schema import CaptureSettings, DataSettings
    from nodelens.interfaces.loss import RowLoss


@frozen(eq=False)
class Splits:
    """The disjoint training, validation and test samples, each in random order.

    `validation` and `test` are empty when their fraction is 0. `normalization` was measured on
    `train` and applied to all three; None where samples are not normalised. `ordered` says that the
    order of the classes is that of the data, not merely of the alphabet.
    """

    train: Samples
    validation: Samples
    test: Samples
    classes: tuple[str, ...]
    normalization: Normalization | None
    ordered: bool = True


def split(data: LoadedData, settings: DataSettings, seed: int) -> Splits:
    """Split a dataset by a seed; every split has the class fractions of the whole.

    Samples with a label per position, or with numbers to predict, have no classes and are drawn at
    random; integer inputs (token
    ids) are not normalized.

    Fractions are of all samples. A dataset's own test samples are the test split; then
    `test_fraction` is not used, and `subset` takes the same fraction of them. Raises `DataError`
    for data that break their contract and for too few samples.
    """
    check_loaded(data)
    samples, test = _limited(data, settings.subset, seed)
    tests, validations = _sizes(len(samples), settings, own_test=test is not None)
    if test is None:
        test, samples = _draw(samples, tests, seed, "test")
    validation, train = _draw(samples, validations, seed, "validation")
    _check_classes(train, data, settings)
    measured = settings.normalize and train.inputs.is_floating_point()
    normalization = measure(train.inputs) if measured else None
    if normalization is not None:
        train, validation, test = (normalization.apply(part) for part in (train, validation, test))
    return Splits(train, validation, test, data.classes, normalization, data.ordered)


def calibration(train: Samples, settings: CaptureSettings, seed: int) -> Samples:
    """Return at most `settings.samples` of the training split, drawn with the seed.

    Balanced calibration has equally many samples of every class, as many as fit. Raises `DataError`
    when a class has too few for that, and for fewer samples than folds.
    """
    random = generator(seed, "data", "calibration")
    if settings.balanced and not train.classed:
        raise DataError(
            "capture.balanced: these samples have no classes (labels per position, or numbers)"
        )
    if settings.balanced:
        index = draw_balanced(train.targets, _per_class(train, settings), random)
    else:
        index = torch.randperm(len(train), generator=random)[: settings.samples]
    if len(index) < settings.folds:
        raise DataError(
            f"calibration has {len(index)} samples for {settings.folds} folds; "
            f"use more samples or set capture.folds to at most {len(index)}"
        )
    return train.take(index)


def batches(samples: Samples, size: int, loss: RowLoss | None = None) -> list[Batch]:
    """Return the samples in order as batches of `size`, the last one shorter; nothing is copied.

    `loss` is what their labels are evaluated by; None is the cross-entropy of classes.
    """
    starts = range(0, len(samples), size)
    return [_batch(samples.take(slice(first, first + size)), first, loss) for first in starts]


def _batch(samples: Samples, first: int, loss: RowLoss | None) -> Batch:
    mask, other = (samples.fields.get(f"{name}attention_mask") for name in ("", "decoder_"))
    return Batch(
        args=(samples.inputs,),
        kwargs=samples.fields,
        targets=samples.targets,
        mask=None if mask is None else mask.bool(),
        first=first,
        decoder_mask=None if other is None else other.bool(),
        token_classes=samples.token_classes,
        loss=loss,
    )


def _limited(data: LoadedData, subset: int | None, seed: int) -> tuple[Samples, Samples | None]:
    available = len(data.samples)
    if subset is None:
        return data.samples, data.test
    if subset > available:
        raise DataError(
            f"data.subset asks for {subset} samples, {data.origin or 'the dataset'} has {available}"
        )
    samples, _ = _draw(data.samples, subset, seed, "subset")
    if data.test is None:
        return samples, None
    count = max(1, round(len(data.test) * subset / available))
    return samples, _draw(data.test, count, seed, "test subset")[0]


def _sizes(available: int, settings: DataSettings, own_test: bool) -> tuple[int, int]:
    """Return the numbers of samples of the test and the validation split."""
    tests = 0 if own_test else _size(available, settings.test_fraction, "test_fraction")
    validations = _size(available, settings.validation_fraction, "validation_fraction")
    if tests + validations >= available:
        raise DataError(
            f"of {available} samples, {tests} are for testing and {validations} for validation, "
            "which leaves none for training; lower data.test_fraction or data.validation_fraction"
        )
    return tests, validations


def _size(available: int, fraction: float, name: str) -> int:
    size = round(available * fraction)
    if fraction > 0 and size == 0:
        raise DataError(
            f"data.{name} {fraction:g} of {available} samples is less than one sample; "
            "raise it, set it to 0, or use more samples"
        )
    return size


def _draw(samples: Samples, count: int, seed: int, purpose: str) -> tuple[Samples, Samples]:
    """Return `count` samples and the others; each purpose has a draw of its own."""
    labels = samples.targets if samples.classed else torch.zeros(len(samples), dtype=torch.int64)
    chosen, others = draw_stratified(labels, count, generator(seed, "data", purpose))
    return samples.take(chosen), samples.take(others)


def _check_classes(train: Samples, data: LoadedData, settings: DataSettings) -> None:
    if not train.classed:
        return
    counts = torch.bincount(train.targets, minlength=len(data.classes))
    if bool(counts.all()):
        return
    absent = int((counts == 0).nonzero()[0])
    total = int((data.samples.targets == absent).sum())
    subset = "" if settings.subset is None else f" with subset {settings.subset},"
    raise DataError(
        f"class {data.classes[absent]!r} has {total} of {len(data.samples)} samples and{subset} "
        f"test_fraction {settings.test_fraction:g} and validation_fraction "
        f"{settings.validation_fraction:g} leave none of them for training; "
        "add samples of it, lower the fractions, or raise the subset"
    )


def _per_class(train: Samples, settings: CaptureSettings) -> int:
    counts = torch.bincount(train.targets)
    classes, fewest = int((counts > 0).sum()), int(counts[counts > 0].min())
    per_class = fewest if settings.samples is None else settings.samples // classes
    if 0 < per_class <= fewest:
        return per_class
    raise DataError(
        f"balanced calibration with capture.samples {settings.samples} and {classes} classes needs "
        f"{max(per_class, 1)} samples of each; the smallest class has {fewest} in the training "
        f"split; set capture.samples between {classes} and {classes * fewest}"
    )

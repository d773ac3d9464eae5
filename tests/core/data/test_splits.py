import pytest
import torch
from attrs import evolve

from nodelens.config.schema import CaptureSettings, Component, DataSettings
from nodelens.data.splits import batches, calibration, split
from nodelens.errors import DataError
from nodelens.interfaces.dataset import LoadedData, Samples

PLAIN = DataSettings(Component("x"), normalize=False)


def numbered(counts, first=0):
    """Samples whose only input is their own number, with `counts` samples per class."""
    targets = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    inputs = torch.arange(first, first + len(targets), dtype=torch.float32)[:, None]
    return Samples(inputs, targets)


def loaded(counts, test=None):
    classes = tuple("abcdefghij"[: len(counts)])
    return LoadedData(numbered(counts), classes, test, origin="numbers")


def numbers(samples):
    return samples.inputs.flatten().int().tolist()


def shares(samples):
    return torch.bincount(samples.targets).tolist()


def test_splits_are_disjoint_and_together_the_whole():
    parts = split(loaded([30, 50, 20]), PLAIN, seed=3)
    together = [*numbers(parts.train), *numbers(parts.validation), *numbers(parts.test)]
    assert sorted(together) == list(range(100))


def test_every_split_has_the_class_shares_of_the_whole():
    parts = split(loaded([30, 50, 20]), PLAIN, seed=3)
    assert shares(parts.test) == [6, 10, 4]
    assert shares(parts.validation) == [3, 5, 2]
    assert shares(parts.train) == [21, 35, 14]


def test_labels_stay_with_their_inputs_and_order_is_mixed():
    data = loaded([30, 50, 20])
    train = split(data, PLAIN, seed=3).train
    assert torch.equal(train.targets, data.samples.targets[torch.tensor(numbers(train))])
    assert numbers(train) != sorted(numbers(train))


def test_seeds_decide_and_the_global_state_does_not():
    data = loaded([40, 40])
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = split(data, PLAIN, seed=0)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert numbers(first.train) == numbers(split(data, PLAIN, seed=0).train)
    assert set(numbers(first.test)) != set(numbers(split(data, PLAIN, seed=1).test))


def test_the_test_split_does_not_depend_on_the_validation_fraction():
    data = loaded([40, 40])
    other = evolve(PLAIN, validation_fraction=0.3)
    assert numbers(split(data, PLAIN, 0).test) == numbers(split(data, other, 0).test)


def test_a_test_set_of_its_own_is_the_test_split():
    own = numbered([3, 4], first=1000)
    parts = split(loaded([40, 40], own), PLAIN, seed=0)
    assert numbers(parts.test) == numbers(own)
    assert len(parts.validation) == 8
    assert len(parts.train) == 72


def test_a_subset_takes_an_equal_share_of_a_test_set():
    parts = split(loaded([60, 40], numbered([30, 20])), evolve(PLAIN, subset=50), seed=0)
    assert shares(parts.test) == [15, 10]
    assert len(parts.train) + len(parts.validation) == 50


def test_fractions_of_zero_give_empty_splits():
    settings = evolve(PLAIN, test_fraction=0.0, validation_fraction=0.0)
    parts = split(loaded([5, 5]), settings, seed=0)
    assert (len(parts.train), len(parts.validation), len(parts.test)) == (10, 0, 0)
    assert batches(parts.test, 4) == []


@pytest.mark.parametrize(
    ("counts", "changes", "message"),
    [
        ([9, 2], {"subset": 12}, "data.subset asks for 12 samples, numbers has 11"),
        ([2, 2], {}, r"validation_fraction 0.1 of 4 samples is less than one sample"),
        (
            [5, 5],
            {"test_fraction": 0.5, "validation_fraction": 0.5},
            "of 10 samples, 5 are for testing and 5 for validation, which leaves none",
        ),
        (
            [10, 1],
            {"test_fraction": 0.5},
            "class 'b' has 1 of 11 samples and test_fraction 0.5 and validation_fraction 0.1",
        ),
        (
            [50, 1],
            {"subset": 20},
            "class 'b' has 1 of 51 samples and with subset 20, test_fraction",
        ),
    ],
)
def test_too_few_samples_are_counted(counts, changes, message):
    with pytest.raises(DataError, match=message):
        split(loaded(counts), evolve(PLAIN, **changes), seed=0)


def test_normalization_is_measured_on_the_training_split_only():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(60, 2, 3, 3, generator=generator) * 5 + 7
    data = LoadedData(Samples(inputs, torch.arange(60) % 2), ("a", "b"))
    raw = split(data, PLAIN, seed=0)
    parts = split(data, evolve(PLAIN, normalize=True), seed=0)
    std, mean = torch.std_mean(raw.train.inputs, dim=(0, 2, 3), correction=0)
    assert parts.normalization.mean == pytest.approx(mean.tolist(), rel=1e-5)
    assert parts.normalization.std == pytest.approx(std.tolist(), rel=1e-5)
    for name in ("train", "validation", "test"):
        expected = (getattr(raw, name).inputs - mean[:, None, None]) / std[:, None, None]
        torch.testing.assert_close(getattr(parts, name).inputs, expected)


def test_constant_channels_are_centred_and_nothing_else():
    inputs = torch.full((20, 2), 0.1)
    inputs[:, 1] = torch.arange(20)
    data = LoadedData(Samples(inputs, torch.arange(20) % 2), ("a", "b"))
    parts = split(data, evolve(PLAIN, normalize=True), seed=0)
    assert parts.normalization.std[0] == 1.0
    assert parts.train.inputs[:, 0].abs().max() < 1e-6


def test_the_dataset_is_not_changed():
    data = loaded([20, 20])
    before = data.samples.inputs.clone()
    split(data, evolve(PLAIN, normalize=True), seed=0)
    assert torch.equal(data.samples.inputs, before)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (Samples(torch.zeros(0, 2), torch.zeros(0).long()), "there are no samples"),
        (Samples(torch.zeros(4, 2).double(), torch.zeros(4).long()), "inputs are torch.float64"),
        (Samples(torch.zeros(4, 2), torch.zeros(3).long()), r"targets of shape \(3,\)"),
        (
            Samples(torch.zeros(4, 2), torch.full((4,), 2)),
            "targets from 2 to 2 do not fit 2 classes",
        ),
        (Samples(torch.full((4, 2), torch.nan), torch.zeros(4).long()), "4 of 4 samples hold NaN"),
    ],
)
def test_datasets_that_break_their_contract(samples, message):
    with pytest.raises(DataError, match=f"odd data: .*{message}"):
        split(LoadedData(samples, ("a", "b"), origin="odd data"), PLAIN, seed=0)


def test_a_test_set_of_another_shape():
    test = Samples(torch.zeros(4, 3), torch.zeros(4).long())
    with pytest.raises(DataError, match=r"test samples have the shape \(3,\), .* \(1,\)"):
        split(loaded([9, 9], test), PLAIN, seed=0)


def test_calibration_is_a_seeded_part_of_training():
    train = numbered([40, 60])
    settings = CaptureSettings(samples=30)
    first = numbers(calibration(train, settings, seed=0))
    assert len(set(first)) == 30
    assert first == numbers(calibration(train, settings, seed=0))
    assert set(first) != set(numbers(calibration(train, settings, seed=1)))


@pytest.mark.parametrize("samples", [None, 1000])
def test_calibration_takes_everything_at_most(samples):
    chosen = calibration(numbered([40, 60]), CaptureSettings(samples=samples), seed=0)
    assert sorted(numbers(chosen)) == list(range(100))


@pytest.mark.parametrize(("samples", "per_class"), [(30, 15), (31, 15), (None, 40)])
def test_balanced_calibration_has_equal_classes(samples, per_class):
    settings = CaptureSettings(samples=samples, balanced=True)
    assert shares(calibration(numbered([40, 60]), settings, seed=0)) == [per_class, per_class]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            CaptureSettings(samples=100, balanced=True),
            "needs 50 samples of each; the smallest class has 40 .*between 2 and 80",
        ),
        (CaptureSettings(samples=1, balanced=True), "needs 1 samples of each"),
        (CaptureSettings(samples=5), "calibration has 5 samples for 8 folds"),
    ],
)
def test_calibration_that_cannot_be_drawn(settings, message):
    with pytest.raises(DataError, match=message):
        calibration(numbered([40, 60]), settings, seed=0)


def test_batches_keep_order_and_say_where_they_start():
    samples = numbered([4, 3])
    parts = batches(samples, 3)
    assert [part.rows for part in parts] == [3, 3, 1]
    assert [part.first for part in parts] == [0, 3, 6]
    assert torch.equal(torch.cat([part.args[0] for part in parts]), samples.inputs)
    assert torch.equal(torch.cat([part.targets for part in parts]), samples.targets)

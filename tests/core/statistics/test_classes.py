import pytest
import torch

from nodelens.errors import DataError
from nodelens.statistics.classes import ClassMoments


def test_class_moments_are_those_of_the_stored_row_means(summary_of, values):
    targets = torch.arange(12) % 3
    found, means = summary_of(ClassMoments(), values, sizes=5, targets=targets), values.mean(1)
    for label in range(3):
        rows = means[targets == label]
        torch.testing.assert_close(found.mean[label], rows.mean(0))
        torch.testing.assert_close(found.variance[label], rows.var(0, correction=0))
    assert found.count.tolist() == [4.0, 4.0, 4.0]


def test_a_class_without_rows_counts_zero_and_has_no_variance(summary_of, values):
    found = summary_of(ClassMoments(), values, targets=torch.zeros(12, dtype=torch.int64))
    assert found.count.tolist() == [12.0, 0.0, 0.0]
    assert found.variance[1:].abs().max() == 0.0


def test_a_row_of_padding_is_no_row(summary_of, values):
    valid = torch.ones(12, 4, dtype=torch.bool)
    valid[0] = False
    blanked = values * valid.unsqueeze(-1)
    targets = torch.zeros(12, dtype=torch.int64)
    found = summary_of(ClassMoments(), blanked, targets=targets, valid=valid)
    assert found.count.tolist() == [11.0, 0.0, 0.0]
    torch.testing.assert_close(found.mean[0], values[1:].mean((0, 1)))


def test_rows_labelled_as_ignored_do_not_count(summary_of, values):
    targets = torch.arange(12) % 3
    targets[4:] = -100
    found = summary_of(ClassMoments(), values, targets=targets)
    assert found.count.tolist() == [2.0, 1.0, 1.0]
    torch.testing.assert_close(found.mean[0], values[[0, 3]].mean((0, 1)))


@pytest.mark.parametrize("label", [-1, 3, -101])
def test_a_label_that_is_no_class_is_refused(summary_of, values, label):
    targets = torch.arange(12) % 3
    targets[5] = label
    with pytest.raises(DataError, match=f"label {label} is not one of the 3 classes, 0 to 2; "):
        summary_of(ClassMoments(), values, targets=targets)

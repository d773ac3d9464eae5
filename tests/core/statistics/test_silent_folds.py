"""A node that fires in one fold only is a constant 0, away from the pivot, without that fold."""

import pytest
import torch

from nodelens.interfaces.statistic import Layout, Reading
from nodelens.statistics.classes import ClassMoments
from nodelens.statistics.gradients import GradientMoments
from nodelens.statistics.gram import Gram
from nodelens.statistics.histograms import LogHistogram
from nodelens.statistics.maps import NuclearNorms
from nodelens.statistics.moments import Moments
from nodelens.statistics.pairs import CrossGram
from nodelens.statistics.sketch import GramSketch
from nodelens.statistics.targets import TargetMoments
from nodelens.testing.statistic_checks import tensors_of

FOLDS, NODES = 5, 20


def without_the_active_fold(statistic, dtype, batches=3):
    """Return the summary of nodes that fire in fold 0, over the other folds."""
    random = torch.Generator().manual_seed(0)
    state = statistic.start(Layout(NODES, FOLDS, classes=2, others=NODES))
    for number in range(batches):
        values = torch.rand(40, 3, NODES, generator=random, dtype=dtype)
        fold = torch.arange(40) % FOLDS
        values[(fold > 0) | (number > 0)] = 0.0
        gradient = torch.randn(values.shape, generator=random, dtype=dtype)
        targets = torch.arange(40) // 3 % 2
        numbers = torch.randn(40, 3, 3, generator=random, dtype=torch.float64)
        reading = Reading(
            values=values,
            fold=fold,
            gradient=gradient,
            targets=targets,
            index=torch.arange(40) + 40 * number,
            outputs=numbers,
            partner=torch.randn(40, 3, NODES, generator=random, dtype=dtype),
        )
        statistic.update(state, reading)
    return statistic.summary(state, torch.arange(FOLDS) > 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    ("statistic", "fields"),
    [
        (Moments(), ("mean", "variance")),
        (Moments(order=4), ("mean", "variance", "fourth")),
        (Gram(), ("mean", "packed")),
        (ClassMoments(), ("mean", "variance")),
        (GradientMoments(), ("q2", "centred_q2")),
        (GramSketch(rank=16), ("mean", "sketch")),
        (CrossGram(), ("mean", "variance", "covariance")),
        (TargetMoments(), ("mean", "variance", "covariance")),
        (NuclearNorms(), ("mean",)),
        (LogHistogram(), ("cells",)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_silence_is_exactly_zero(statistic, fields, dtype):
    found = tensors_of(without_the_active_fold(statistic, dtype))
    assert {name: found[name].abs().max().item() for name in fields} == dict.fromkeys(fields, 0.0)


def test_silence_is_zero_after_thousands_of_batches():
    found = without_the_active_fold(Moments(), torch.float32, batches=4000)
    assert found.variance.tolist() == [0.0] * NODES


def test_a_node_constant_over_all_rows_has_one_mean_for_all_classes(summary_of):
    values = torch.full((30, 7, 1), 0.1, dtype=torch.float64)
    values[0] = 1e3
    state = ClassMoments().start(Layout(1, 2, classes=2))
    fold, targets = (torch.arange(30) > 0).long(), (torch.arange(30) > 8).long()
    ClassMoments().update(state, Reading(values=values, fold=fold, targets=targets))
    found = ClassMoments().summary(state, torch.tensor([False, True]))
    assert found.mean[0] == found.mean[1] == pytest.approx(0.1)
    assert found.variance.tolist() == [[0.0], [0.0]]

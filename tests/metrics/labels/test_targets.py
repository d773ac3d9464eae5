import math

import pytest
import torch

from nodelens.errors import NotApplicableError
from nodelens.interfaces.statistic import OUTPUTS
from nodelens.testing.metric_checks import scores
from nodelens.testing.world import make_world, reading
from nodelens_metrics.labels.targets import (
    BinnedInformation,
    CopulaInformation,
    KSGInformation,
    TaskInformation,
)
from nodelens_metrics.mathematics.estimators import (
    copula_label_information,
    gaussian_information_bias,
    label_information,
)
from nodelens_metrics.mathematics.neighbours import ksg_label_information


@pytest.mark.parametrize("target", OUTPUTS)
def test_task_information_against_row_means(target):
    world = make_world()
    values = world.activation.mean(1)
    outputs = reading(world, "activation").outputs[:, 0, OUTPUTS.index(target)]
    rho = torch.corrcoef(torch.cat([values, outputs[:, None]], dim=1).T)[-1, :-1]
    plain = -0.5 * (-rho.square()).log1p()
    found = scores(TaskInformation(target=target, correct_bias=False, noise=1e-12), world)
    torch.testing.assert_close(found, plain)
    corrected = (plain - gaussian_information_bias(1, 1, 36)).clamp(min=0.0)
    found = scores(TaskInformation(target=target, noise=1e-12), world)
    torch.testing.assert_close(found, corrected)


def test_a_node_that_is_the_target_gets_what_a_duplicate_gets(score):
    x = torch.randn(40, 1, generator=torch.Generator().manual_seed(0)).double()
    found = score(TaskInformation(correct_bias=False), x)
    assert found.item() == pytest.approx(-0.5 * math.log(1 - 1 / (1 + 1e-6) ** 2), rel=1e-6)


ESTIMATORS = [
    (BinnedInformation(), label_information),
    (CopulaInformation(), copula_label_information),
    (KSGInformation(), ksg_label_information),
]


@pytest.mark.parametrize(("metric", "estimate"), ESTIMATORS, ids=lambda each: str(each)[:20])
def test_labels_are_compared_with_row_means(score, metric, estimate):
    random = torch.Generator().manual_seed(1)
    x = torch.randn(60, 4, 3, generator=random).double()
    y = torch.arange(60) % 3
    x += (y[:, None] * torch.tensor([0.0, 0.5, 1.0])).unsqueeze(1)
    found = score(metric, x, targets=y)
    torch.testing.assert_close(found, estimate(x.mean(1), y), rtol=0, atol=1e-8)
    assert found[2] > found[0]


@pytest.mark.parametrize(("metric", "_"), ESTIMATORS, ids=lambda each: str(each)[:20])
def test_dead_and_constant_nodes_know_nothing(score, metric, _):
    y = torch.arange(30) % 3
    fixed = torch.tensor([0.0, 0.1, 0.7]).double().expand(30, 3)
    x = torch.cat([fixed, y[:, None].double()], dim=1)
    found = score(metric, x, targets=y)
    assert found[:3].tolist() == [0.0] * 3
    assert found[3] > 1.0


@pytest.mark.parametrize(("metric", "_"), ESTIMATORS, ids=lambda each: str(each)[:20])
def test_one_class_is_a_reason(score, metric, _):
    with pytest.raises(NotApplicableError, match="fewer than two classes have"):
        score(metric, torch.ones(4, 2))


def test_an_even_relation_is_seen_by_bins_and_neighbours_and_not_by_ranks(score):
    x = torch.randn(1500, 1, generator=torch.Generator().manual_seed(2)).double()
    y = (x[:, 0].abs() > 0.674).long()
    binned, copula, ksg = (score(metric, x, targets=y).item() for metric, _ in ESTIMATORS)
    assert copula < 0.01
    assert binned > 0.6
    assert ksg == pytest.approx(math.log(2), abs=0.03)

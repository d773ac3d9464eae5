import pytest
import torch

from nodelens.interfaces.statistic import Layout, Reading
from nodelens.statistics.targets import TargetMoments

NAN = float("nan")


def moments(values, outputs, of="value", sizes=5, components=1, **fields):
    statistic = TargetMoments(of=of)
    layout = Layout(values.shape[-1], 1, components=components)
    fields["components"] = components
    total = statistic.start(layout)
    for rows in torch.arange(len(values)).split(sizes):
        state = statistic.start(layout)
        given = {
            name: value[rows] if isinstance(value, torch.Tensor) else value
            for name, value in fields.items()
        }
        fold = torch.zeros(len(rows), dtype=torch.int64)
        reading = Reading(values=values[rows], outputs=outputs[rows], fold=fold, **given)
        statistic.update(state, reading)
        statistic.merge(total, state)
    return statistic.summary(total, torch.ones(1, dtype=torch.bool))


@pytest.fixture
def numbers(values):
    """Return three numbers per position that have something to do with the values."""
    noise = torch.randn(12, 4, 3, generator=torch.Generator().manual_seed(5)).double()
    return values[..., 2:3] + noise


def check(found, samples, targets):
    torch.testing.assert_close(found.mean, samples.mean(0))
    torch.testing.assert_close(found.variance, samples.var(0, correction=0))
    torch.testing.assert_close(found.target_mean, targets.mean(0))
    torch.testing.assert_close(found.target_variance, targets.var(0, correction=0))
    joint = torch.cov(torch.cat([targets, samples], -1).T, correction=0)
    torch.testing.assert_close(found.covariance, joint[:3, 3:])
    assert found.count == len(samples)


def test_by_position_where_each_has_a_prediction(values, numbers):
    check(moments(values, numbers), values.flatten(0, 1), numbers.flatten(0, 1))


def test_by_row_where_the_row_has_one_prediction(values, numbers):
    check(moments(values, numbers[:, :1]), values.mean(1), numbers[:, 0])


def test_several_predictions_that_are_not_the_positions_are_averaged(values, numbers):
    numbers[3, 1] = NAN
    check(moments(values, numbers[:, :2]), values.mean(1), numbers[:, :2].nanmean(1))


def test_gates_are_summed_over_the_row(values, numbers):
    g = torch.randn(values.shape, generator=torch.Generator().manual_seed(6)).double()
    found = moments(values, numbers[:, :1], of="gate", gradient=g)
    check(found, (values * g).sum(1), numbers[:, 0])
    found = moments(values, numbers, of="gate", gradient=g)
    check(found, (values * g).flatten(0, 1), numbers.flatten(0, 1))


def test_the_components_of_a_head_are_numbers_of_their_own_and_have_one_gate(values, numbers):
    values = values[..., :4]
    found = moments(values, numbers, components=2)
    check(found, values.flatten(0, 1), numbers.flatten(0, 1))
    covariance = torch.cov(values.flatten(0, 1).T, correction=0)
    torch.testing.assert_close(found.within, torch.stack([covariance[:2, :2], covariance[2:, 2:]]))
    g = torch.randn(values.shape, generator=torch.Generator().manual_seed(6)).double()
    found = moments(values, numbers, of="gate", components=2, gradient=g)
    gates = (values * g).unflatten(2, (2, 2)).sum(3)
    check(found, gates.flatten(0, 1), numbers.flatten(0, 1))


def test_samples_without_a_label_do_not_count(values, numbers):
    numbers[::2, 1, :2] = NAN
    labelled = ~numbers[..., 0].isnan()
    check(moments(values, numbers), values[labelled], numbers[labelled])


def test_padding_does_not_count(values, numbers):
    valid = torch.arange(4) < torch.arange(1, 13).clamp(max=4).unsqueeze(1)
    blank = values.masked_fill(~valid.unsqueeze(-1), 0.0)
    check(moments(blank, numbers, valid=valid), values[valid], numbers[valid])


def test_a_large_offset_of_the_nodes_does_not_cancel(values, numbers):
    spread = values / values.std((0, 1))
    found = moments(spread + 1e8, numbers)
    samples = ((spread + 1e8) - 1e8).flatten(0, 1)
    joint = torch.cov(torch.cat([numbers.flatten(0, 1), samples], -1).T, correction=0)
    torch.testing.assert_close(found.covariance, joint[:3, 3:], rtol=1e-6, atol=1e-7)


def test_constants_covary_with_nothing(values, numbers):
    values[..., 1] = 0.1
    found = moments(values, numbers)
    assert not found.covariance[:, 1].any()
    assert not found.correlation[:, 1].any()
    assert found.correlation.isfinite().all()

import pytest
import torch

from nodelens.interfaces.statistic import Layout, Reading
from nodelens.statistics.reservoir import Reservoir


def filled(statistic, values, folds=4, sizes=5, components=1, **fields):
    state = statistic.start(Layout(values.shape[-1], folds, components=components))
    fields["components"] = components
    for rows in torch.arange(len(values)).split(sizes):
        given = {
            name: value[rows] if isinstance(value, torch.Tensor) else value
            for name, value in fields.items()
        }
        reading = Reading(values=values[rows], fold=rows % folds, index=rows, **given)
        statistic.update(state, reading)
    return state


def sample(statistic, values, folds=4, keep=None, **fields):
    state = filled(statistic, values, folds, **fields)
    kept = torch.ones(folds, dtype=torch.bool) if keep is None else torch.tensor(keep)
    return statistic.summary(state, kept)


def test_a_reservoir_that_is_large_enough_holds_everything(values):
    found = sample(Reservoir(size=1000), values)
    order = (found.index * 4 + found.position).argsort()
    torch.testing.assert_close(found.values[order], values.flatten(0, 1))


def test_samples_are_what_their_numbers_say(values):
    found = sample(Reservoir(size=16), values)
    row, position = found.index.long(), found.position.long()
    assert torch.equal(found.values, values[row, position])
    assert len({*zip(row.tolist(), position.tolist(), strict=True)}) == 16


def test_folds_that_are_left_out_take_their_samples_along(values):
    whole = sample(Reservoir(size=16), values)
    found = sample(Reservoir(size=16), values, keep=[True, False, False, True])
    left = whole.index[((whole.index % 4) == 0) | ((whole.index % 4) == 3)]
    assert 0 < len(left) < 16
    assert torch.equal(found.index, left)


@pytest.mark.parametrize("size", [47, 48, 50])
def test_uneven_folds_lose_no_sample(values, size):
    fold = torch.zeros(12, dtype=torch.int64)
    fold[:3] = torch.tensor([1, 3, 3])
    statistic = Reservoir(size=size)
    states = [statistic.start(Layout(values.shape[-1], 4)) for _ in range(2)]
    for state, rows in zip(states, torch.arange(12).split(7), strict=True):
        statistic.update(state, Reading(values=values[rows], fold=fold[rows], index=rows))
    statistic.merge(*states)
    found = statistic.summary(states[0], torch.ones(4, dtype=torch.bool))
    assert len(found.values) == min(size, 48)


def test_sites_of_different_width_keep_the_same_samples(values):
    wide, narrow = (sample(Reservoir(size=16), part) for part in (values, values[..., :2]))
    assert torch.equal(wide.index, narrow.index)
    assert torch.equal(wide.position, narrow.position)


def test_every_sample_is_kept_equally_often():
    values = torch.zeros(4000, 5, 1)
    found = sample(Reservoir(size=4000), values, folds=1, sizes=500)
    expected, spread = 800.0, (800 * 0.8) ** 0.5
    assert ((found.position.long().bincount() - expected).abs() < 4 * spread).all()
    first_half = (found.index < 2000).sum()
    assert abs(first_half - 2000) < 4 * 1000**0.5


def test_padding_is_never_kept(values):
    valid = torch.arange(4) < torch.arange(1, 13).clamp(max=4).unsqueeze(1)
    found = sample(Reservoir(size=1000), values * valid.unsqueeze(-1), valid=valid)
    assert len(found.values) == valid.sum()
    assert valid[found.index.long(), found.position.long()].all()


def test_rows_are_means_of_values_and_sums_of_gates(values):
    g = torch.randn(values.shape, generator=torch.Generator().manual_seed(6)).double()
    found = sample(Reservoir(size=8, per="row"), values)
    torch.testing.assert_close(found.values, values.mean(1)[found.index.long()])
    found = sample(Reservoir(size=8, per="row", of="gate"), values, gradient=g)
    torch.testing.assert_close(found.values, (values * g).sum(1)[found.index.long()])


def test_gates_of_a_head_are_summed_over_its_components(values):
    g = torch.randn(values.shape, generator=torch.Generator().manual_seed(6)).double()
    values, g = values[..., :4], g[..., :4]
    found = sample(Reservoir(size=8, of="gate"), values, gradient=g, components=2)
    gates = (values * g).unflatten(2, (2, 2)).sum(3)
    chosen = gates[found.index.long(), found.position.long()]
    torch.testing.assert_close(found.values, chosen, rtol=1e-6, atol=1e-3)


def test_labels_are_kept_where_they_are_asked_for(values):
    targets = torch.arange(12) % 3
    targets[5] = -100
    found = sample(Reservoir(size=1000, targets=True), values, targets=targets)
    assert torch.equal(found.targets, targets[found.index.long()].double())
    assert sample(Reservoir(size=8), values, targets=targets).targets is None


def test_the_position_of_a_packed_sequence_counts_from_the_start_of_its_row(values):
    found = sample(Reservoir(size=1000), values, start=torch.full((12,), 100))
    assert found.position.min() == 100.0


@pytest.mark.parametrize("options", [{"per": "image"}, {"of": "gradient"}, {"size": 0}])
def test_options_that_do_not_exist_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Reservoir(**options)

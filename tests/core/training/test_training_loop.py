import math

import pytest
import torch
from attrs import evolve
from torch import nn

from nodelens.config.schema import Component, DataSettings, TrainingSettings
from nodelens.data.digits import Digits
from nodelens.data.splits import Splits, batches, split
from nodelens.errors import DataError, ModelError
from nodelens.interfaces.backend import ModelRequest
from nodelens.interfaces.dataset import Samples
from nodelens.models.cnn import CNN
from nodelens.models.mlp import MLP
from nodelens.training.model_evaluation import evaluate
from nodelens.training.training_loop import train

CPU = torch.device("cpu")
SETTINGS = TrainingSettings(epochs=3, learning_rate=0.01)


def silent(what, done, total):
    pass


def blobs(count, seed):
    """Two classes, two features, apart by a few standard deviations."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(count) % 2
    inputs = torch.randn(count, 2, generator=generator) + 2.0 * targets[:, None]
    return Samples(inputs, targets)


def splits(train_rows=65, validation_rows=32, test_rows=32):
    parts = [
        blobs(rows, seed) for seed, rows in enumerate((train_rows, validation_rows, test_rows))
    ]
    return Splits(*parts, ("a", "b"), None)


def network(seed=0, hidden=(8,)):
    return MLP(hidden=hidden).build(ModelRequest((2,), 2, seed)).module


def run(model, settings=SETTINGS, data=None, batch_size=16, seed=0, progress=silent):
    return train(model, data or splits(), settings, batch_size, seed, CPU, progress)


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def test_training_learns():
    model, data = network(), splits()
    before = evaluate(model, batches(data.test, 16)).loss
    run(model, evolve(SETTINGS, epochs=10), data)
    after = evaluate(model, batches(data.test, 16))
    assert after.loss < 0.6 * before
    assert after.accuracy > 0.85


def test_a_seed_gives_the_same_weights_bit_for_bit():
    results = []
    for noise, seed in ((1, 0), (2, 0), (3, 1)):
        torch.manual_seed(noise)
        model = nn.Sequential(network(), nn.Dropout(0.2))
        results.append((run(model, seed=seed).history, weights(model)))
    assert results[0][0] == results[1][0]
    assert same(results[0][1], results[1][1])
    assert not same(results[0][1], results[2][1])


def test_the_global_random_state_modes_and_gradient_mode_stay():
    model = nn.Sequential(network(), nn.Dropout(0.2))
    model[0].eval()
    state = torch.get_rng_state()
    with torch.no_grad():
        run(model)
        assert not torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), state)
    assert (model.training, model[0].training, model[1].training) == (True, False, True)
    assert all(one.grad is None for one in model.parameters())


def test_the_test_split_is_never_read():
    data = splits()
    spoiled = evolve(data, test=Samples(data.test.inputs * math.nan, data.test.targets))
    one, other = network(), network()
    assert run(one, data=data).history == run(other, data=spoiled).history
    assert same(weights(one), weights(other))


def test_the_weights_are_those_with_the_lowest_validation_loss():
    model, data = network(hidden=(32,)), splits(train_rows=12)
    settings = evolve(SETTINGS, epochs=40, learning_rate=0.1, schedule="constant")
    result = run(model, settings, data)
    losses = [epoch.validation_loss for epoch in result.history]
    assert result.chosen == losses.index(min(losses)) + 1 < 40
    assert evaluate(model, batches(data.validation, 16)).loss == min(losses)


def test_without_a_validation_split_the_last_weights_stay():
    data = evolve(splits(), validation=Samples(torch.zeros(0, 2), torch.zeros(0).long()))
    result = run(network(), data=data)
    assert result.chosen == 3
    assert result.chosen_epoch.validation_loss is None
    assert "no validation split" in result.finding().headline[0]


def test_patience_ends_the_training():
    settings = evolve(SETTINGS, epochs=200, learning_rate=0.1, schedule="constant", patience=3)
    result = run(network(hidden=(32,)), settings, splits(train_rows=12))
    assert result.stopped_early
    assert len(result.history) == result.chosen + 3
    assert "stopped early" in result.finding().headline[0]


def test_patience_needs_a_validation_split():
    with pytest.raises(DataError, match=r"training\.patience 3 needs a validation split"):
        run(network(), evolve(SETTINGS, patience=3), splits(validation_rows=0))


@pytest.mark.parametrize(
    "change",
    [
        {"optimizer": "adam", "weight_decay": 0.1},
        {"optimizer": "sgd"},
        {"learning_rate": 0.02},
        {"weight_decay": 0.1},
        {"schedule": "constant"},
        {"label_smoothing": 0.1},
        {"epochs": 4},
    ],
)
def test_every_setting_changes_the_weights(change):
    one, other = network(), network()
    run(one)
    run(other, evolve(SETTINGS, **change))
    assert not same(weights(one), weights(other))


def test_momentum_is_that_of_sgd():
    results = []
    for momentum in (0.0, 0.9):
        model = network()
        run(model, evolve(SETTINGS, optimizer="sgd", momentum=momentum))
        results.append(weights(model))
    assert not same(*results)


def test_one_step_of_sgd_is_the_gradient_of_the_mean_loss():
    data, model = splits(train_rows=8, validation_rows=0), network()
    before = weights(model)
    gradient = torch.autograd.grad(
        nn.functional.cross_entropy(model(data.train.inputs), data.train.targets),
        model.head.weight,
    )[0]
    settings = TrainingSettings(
        epochs=1, optimizer="sgd", learning_rate=0.5, weight_decay=0.0, schedule="constant"
    )
    run(model, settings, data, batch_size=8)
    torch.testing.assert_close(model.head.weight, before["head.weight"] - 0.5 * gradient)


def test_the_training_loss_counts_every_sample_once():
    data, model = splits(train_rows=65, validation_rows=0), network()
    expected = evaluate(model, batches(data.train, 65)).loss
    result = run(model, evolve(SETTINGS, epochs=1, learning_rate=1e-12), data, batch_size=60)
    assert result.history[0].training_loss == pytest.approx(expected, rel=1e-6)


def test_a_last_batch_of_one_row_does_not_break_batch_normalisation():
    model = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    steps = []
    run(model, data=splits(train_rows=33), progress=lambda what, done, total: steps.append(total))
    assert steps == [6] * 6


def test_progress_counts_the_steps():
    calls = []
    run(network(), progress=lambda *call: calls.append(call))
    assert calls == [("training", done, 12) for done in range(1, 13)]


def test_the_cosine_falls_from_the_full_rate():
    rates = [epoch.learning_rate for epoch in run(network()).history]
    steps = [3, 7, 11]
    expected = [0.01 * 0.5 * (1 + math.cos(math.pi * step / 12)) for step in steps]
    assert rates == pytest.approx(expected)


def test_a_loss_that_is_not_finite_says_where_and_what_to_try():
    data = splits()
    data.train.inputs[0] = math.inf
    with pytest.raises(ModelError, match=r"the loss in epoch 1, batch \d is nan: .*learning_rate"):
        run(network(), data=data)


def test_a_validation_loss_that_is_not_finite_is_an_error():
    data = splits()
    data.validation.inputs[0] = math.inf
    with pytest.raises(ModelError, match="the validation loss after epoch 1 is nan"):
        run(network(), data=data)


def test_frozen_parameters_stay_and_a_frozen_model_is_refused():
    model = network()
    model.hidden.requires_grad_(False)
    before = weights(model)
    run(model)
    assert torch.equal(model.hidden[0].linear.weight, before["hidden.0.linear.weight"])
    model.requires_grad_(False)
    with pytest.raises(ModelError, match="no trainable parameter"):
        run(model)


def test_the_finding_holds_the_curves():
    result = run(network())
    finding = result.finding()
    assert (finding.kind, finding.name) == ("training", "training")
    assert len(finding.tables[0].rows) == 3
    assert [line.label for line in finding.plots[0].lines] == ["training", "validation"]
    assert finding.data["chosen"] == result.chosen
    assert f"those of epoch {result.chosen}" in finding.headline[0]


def test_a_small_cnn_reads_digits():
    parts = split(Digits().load(), DataSettings(Component("digits")), seed=0)
    model = CNN().build(ModelRequest((1, 8, 8), 10, 0)).module
    run(model, TrainingSettings(epochs=5, learning_rate=5e-3), parts, batch_size=64)
    assert evaluate(model, batches(parts.test, 256)).accuracy > 0.95

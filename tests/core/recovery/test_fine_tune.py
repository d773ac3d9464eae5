"""Training all weights of a pruned model."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from attrs import evolve
from torch import nn

from nodelens.config.options import structure_options
from nodelens.data.splits import batches
from nodelens.errors import ConfigError, DataError, ModelError
from nodelens.interfaces.dataset import Samples
from nodelens.interfaces.recovery import RecoveryRequest
from nodelens.interfaces.statistic import IGNORED
from nodelens.recovery.fine_tune import Distillation, FineTune
from nodelens.testing.recovery_checks import check_recovery, example_request
from nodelens.training.model_evaluation import evaluate

FAST = FineTune(steps=30, learning_rate=0.01)


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([each.detach().flatten().double() for each in model.parameters()])


def steady(request: RecoveryRequest) -> RecoveryRequest:
    """Return the request with a model that draws nothing at random."""
    request.model[2].p = 0.0
    return request


def trained(recovery: FineTune, **changes: object) -> torch.Tensor:
    request = evolve(example_request(), **changes)
    recovery.recover(request)
    return weights(request.model)


@pytest.mark.parametrize(
    "check",
    [
        each
        for recovery in (FineTune(steps=3), FineTune(steps=3, distillation=Distillation()))
        for each in check_recovery(recovery)
    ],
    ids=str,
)
def test_it_keeps_the_contract(check):
    check.run()


def test_the_loss_falls():
    request = example_request()
    whole = batches(request.train, 48)
    before = evaluate(request.model, whole).loss
    recovered = FAST.recover(request)
    assert evaluate(request.model, whole).loss < 0.7 * before
    assert len(recovered.steps) == 30
    assert (recovered.weights, recovered.samples, recovered.batch_size) == (57, 48, 8)


def test_a_step_is_one_of_adamw_on_the_clipped_gradient():
    request = steady(example_request())
    twin = copy.deepcopy(request.model)
    optimizer = torch.optim.AdamW(twin.parameters(), lr=0.1, weight_decay=0.3)
    nn.functional.cross_entropy(twin(request.train.inputs), request.train.targets).backward()
    norm = torch.cat([each.grad.flatten() for each in twin.parameters()]).norm()
    for each in twin.parameters():
        each.grad *= 0.05 / norm
    optimizer.step()
    FineTune(
        steps=1, batch_size=48, learning_rate=0.1, weight_decay=0.3, max_grad_norm=0.05
    ).recover(request)
    assert norm > 0.05
    torch.testing.assert_close(weights(request.model), weights(twin), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 29},
        {"batch_size": 5},
        {"learning_rate": 0.02},
        {"schedule": "constant"},
        {"warmup": 4},
        {"weight_decay": 0.1},
        {"max_grad_norm": 0.01},
        {"split": "calibration"},
        {"distillation": Distillation()},
        {"distillation": Distillation(weight=0.6)},
        {"distillation": Distillation(temperature=3.0)},
    ],
)
def test_every_option_changes_the_weights(change):
    base = FAST
    if change.get("distillation", Distillation()) != Distillation():
        base = evolve(base, distillation=Distillation())
    assert not torch.equal(trained(base), trained(evolve(base, **change)))


def test_another_seed_reads_another_order():
    assert not torch.equal(trained(FAST), trained(FAST, seed=1))


def test_every_sample_is_read_once_before_any_is_read_again():
    request = example_request()
    seen = []
    request.model.register_forward_pre_hook(lambda _, given: seen.append(given[0].clone()))
    FineTune(steps=12).recover(request)
    read = torch.cat(seen)
    for part in (read[:48], read[48:]):
        assert torch.equal(part.sort(0).values, request.train.inputs.sort(0).values)
    assert not torch.equal(read[:48], read[48:])


def test_the_calibration_split_reads_no_other_sample():
    request = example_request()
    spoilt = Samples(torch.full_like(request.train.inputs, math.nan), request.train.targets)
    trained(evolve(FAST, split="calibration"), train=spoilt)
    with pytest.raises(ModelError, match="the loss of recovery step 1 is nan"):
        trained(FAST, train=spoilt)


def test_the_rate_of_every_step_is_told():
    request = example_request()
    steps = FineTune(steps=5, warmup=2, learning_rate=0.03).recover(request).steps
    cosine = [0.03 * 0.5 * (1 + math.cos(math.pi * at / 3)) for at in range(3)]
    assert [step.learning_rate for step in steps] == pytest.approx([0.01, 0.02, *cosine])


def test_progress_counts_the_steps():
    calls = []
    request = evolve(example_request(), progress=lambda *call: calls.append(call))
    FineTune(steps=3).recover(request)
    assert calls == [("recovery", done, 3) for done in (1, 2, 3)]


def test_the_dense_model_is_learned():
    request = example_request()
    recovery = FineTune(
        steps=200, learning_rate=0.02, batch_size=48, distillation=Distillation(1.0, 1.0)
    )
    steps = recovery.recover(request).steps
    assert steps[-1].divergence < 0.2 * steps[0].divergence
    assert steps[-1].loss == pytest.approx(steps[-1].divergence)


def test_labels_do_not_count_at_weight_one():
    other = example_request().train
    other = Samples(other.inputs, (other.targets + 1) % 3)
    alone = evolve(FAST, distillation=Distillation(weight=1.0))
    assert torch.equal(trained(alone), trained(alone, train=other))
    half = evolve(FAST, distillation=Distillation(weight=0.5))
    assert not torch.equal(trained(half), trained(half, train=other))


def test_a_model_has_nothing_to_learn_from_itself():
    request = steady(example_request())
    request = evolve(request, dense=copy.deepcopy(request.model))
    recovery = FineTune(steps=1, distillation=Distillation(weight=1.0, temperature=2.0))
    assert recovery.recover(request).steps[0].loss == pytest.approx(0.0, abs=1e-6)


def test_weights_of_sixteen_bits_are_trained_as_thirty_two_and_rounded_back():
    request = example_request()
    start = request.model.to(torch.bfloat16)
    tied = start[0].weight
    before = weights(start)
    recovery = FineTune(steps=40, learning_rate=1e-4, schedule="constant")
    recovery.recover(request)
    assert {each.dtype for each in start.parameters()} == {torch.bfloat16}
    assert start[0].weight is tied
    single = example_request()
    single.model.load_state_dict(
        {
            name: value.float()
            for name, value in single.model.to(torch.bfloat16).state_dict().items()
        }
    )
    single = evolve(single, model=single.model.float())
    FineTune(steps=40, learning_rate=1e-4, schedule="constant").recover(single)
    rounded = weights(single.model.to(torch.bfloat16))
    assert torch.equal(weights(start), rounded)
    # A step of 1e-4 is lost where it is added to bfloat16 weights of size one.
    assert (weights(start) != before).double().mean() > 0.3


def test_positions_without_a_label_do_not_count():
    request = steady(example_request())
    half = request.train.targets.clone()
    half[::2] = IGNORED
    recovery = FineTune(steps=1, batch_size=48)
    one = recovery.recover(evolve(request, train=Samples(request.train.inputs, half))).steps[0]
    labelled = example_request().train.take(slice(1, None, 2))
    other = recovery.recover(evolve(steady(example_request()), train=labelled)).steps[0]
    assert one.loss == pytest.approx(other.loss, rel=1e-6)


def test_samples_without_labels_are_refused():
    request = example_request()
    none = Samples(request.train.inputs, torch.full_like(request.train.targets, IGNORED))
    with pytest.raises(DataError, match="no position of a batch has a label"):
        trained(FAST, train=none)


def test_a_loss_that_diverges_says_what_to_change():
    with pytest.raises(ModelError, match=r"lower the learning_rate of the recovery \(it is 1e\+30"):
        trained(evolve(FAST, learning_rate=1e30))


def test_a_frozen_model_and_batches_of_one_are_refused_before_any_work():
    request = example_request()
    request.model.requires_grad_(False)
    with pytest.raises(ModelError, match="no trainable parameter; leave the recovery section out"):
        FAST.check(request)
    normalised = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    request = evolve(example_request(), model=normalised)
    FAST.check(request)
    with pytest.raises(DataError, match="a batch would be one sample; set a batch_size"):
        evolve(FAST, batch_size=1).check(request)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps: expected a whole number above 0, got 0"),
        ({"learning_rate": 0}, "learning_rate: expected a number above 0, got 0"),
        ({"learning_rate": -0.1}, "learning_rate: expected a number above 0, got -0.1"),
        ({"batch_size": 0}, "batch_size: expected a whole number above 0"),
        ({"steps": 10, "warmup": 10}, "warmup of 10 steps leaves none of 10 at full rate"),
        ({"split": "test"}, "split: expected one of 'train', 'calibration'"),
        ({"distillation": {"weight": 0}}, "distillation.weight: expected a number above 0.0 and"),
        ({"distillation": {"temperature": 0}}, "distillation.temperature: expected a number above"),
        ({"temperature": 2}, "temperature: unknown key"),
        ({"largest_norm": 2}, "largest_norm: unknown key; it is called 'max_grad_norm' now"),
    ],
)
def test_mistakes_are_said(options, message):
    with pytest.raises(ConfigError) as error:
        structure_options(FineTune, options)
    assert message in str(error.value)

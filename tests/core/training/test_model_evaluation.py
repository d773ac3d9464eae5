import math

import numpy as np
import pytest
import torch
from torch import nn

from nodelens.capture.batches import Batch
from nodelens.data.splits import batches
from nodelens.errors import DataError, ModelError
from nodelens.interfaces.dataset import Samples
from nodelens.training.evaluation_finding import evaluation_finding
from nodelens.training.model_evaluation import evaluate, paired

LOGITS = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 3.0], [5.0, 0.0, 0.0]])
TARGETS = torch.tensor([0, 1, 0, 0])


class Given(nn.Module):
    """Returns its input as logits and remembers how it was called."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def forward(self, inputs):
        self.calls.append((self.training, torch.is_grad_enabled()))
        return inputs


class Raises(nn.Module):
    def forward(self, inputs):
        raise KeyError("broken")


def result(logits=LOGITS, targets=TARGETS, size=4):
    return evaluate(Given(), batches(Samples(logits, targets), size))


def test_losses_and_hits_are_row_by_row():
    found = result()
    expected = nn.functional.cross_entropy(LOGITS.double(), TARGETS, reduction="none").numpy()
    np.testing.assert_allclose(found.losses, expected, rtol=1e-6)
    assert found.correct.tolist() == [True, True, False, True]
    assert found.losses.dtype == np.float64
    assert found.counts.tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("size", [1, 3, 4, 100])
def test_a_short_last_batch_weighs_as_many_rows_as_it_has(size):
    assert result(size=size).loss == pytest.approx(result().loss, rel=1e-12)
    assert result(size=size).accuracy == 0.75


def test_standard_errors_are_those_of_a_mean():
    found = result()
    assert found.loss_se == pytest.approx(found.losses.std(ddof=1) / 2)
    assert found.accuracy_se == pytest.approx(np.std([1, 1, 0, 1], ddof=1) / 2)


def test_one_row_has_no_standard_error():
    found = result(LOGITS[:1], TARGETS[:1])
    assert math.isnan(found.loss_se)
    assert "±" not in evaluation_finding(found, "test", "abc").headline[0]


def test_evaluation_mode_without_gradients_and_all_as_before():
    model = Given()
    evaluate(model, batches(Samples(LOGITS, TARGETS), 2))
    assert model.calls == [(False, False)] * 2
    assert model.training
    assert torch.is_grad_enabled()


def test_modes_are_restored_when_the_model_raises():
    model = nn.Sequential(nn.Dropout(), Raises())
    model[0].eval()
    with pytest.raises(ModelError, match="KeyError: 'broken'"):
        evaluate(model, batches(Samples(LOGITS, TARGETS), 2))
    assert (model.training, model[0].training, model[1].training) == (True, False, True)
    assert torch.is_grad_enabled()


def test_random_state_is_not_touched():
    state = torch.get_rng_state()
    evaluate(nn.Sequential(nn.Dropout(), Given()), batches(Samples(LOGITS, TARGETS), 2))
    assert torch.equal(torch.get_rng_state(), state)


def test_classes_have_their_own_counts_and_errors():
    a, b, c = result().per_class("abc")
    assert [one.count for one in (a, b, c)] == [3, 1, 0]
    assert a.accuracy.value == pytest.approx(2 / 3)
    assert a.accuracy.se == pytest.approx(np.std([1, 0, 1], ddof=1) / math.sqrt(3))
    assert math.isnan(b.accuracy.se)
    assert c.accuracy.finite() is None


def test_the_finding_is_json_without_nan():
    found = result()
    finding = evaluation_finding(found, "test", "abc")
    loss = f"loss {found.loss:.4f} ± {found.loss_se:.4f} nats"
    assert finding.headline == (f"test: accuracy 75.0 ± 25.0 %, {loss} on 4 samples",)
    assert (finding.kind, finding.name, finding.warnings) == ("evaluation", "test", ())
    rows = finding.tables[0].rows
    assert rows[2] == ("c", 0, None, None, None, None)
    assert finding.data["classes"][0]["samples"] == 3
    assert finding.data["accuracy"] == 0.75


def test_rows_that_are_not_finite_are_wrong_and_warned_about():
    logits = LOGITS.clone()
    logits[0] = math.nan
    found = result(logits)
    assert found.correct.tolist() == [False, True, False, True]
    finding = evaluation_finding(found, "test", "abc")
    assert finding.warnings == ("1 of 4 rows have a loss that is not finite",)
    assert finding.data["loss"] is None


def tokens(rows=3, positions=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, positions, 4, generator=generator)
    return logits, torch.randint(4, (rows, positions), generator=generator)


def test_losses_of_positions_are_divided_once():
    logits, targets = tokens()
    targets[0, 1:] = -100
    mask = torch.ones(3, 5, dtype=torch.bool)
    mask[1, 3:] = False
    found = evaluate(Given(), [Batch(args=(logits,), targets=targets, mask=mask)])
    counted = (targets != -100) & mask
    losses = nn.functional.cross_entropy(logits[counted].double(), targets[counted])
    assert found.counts.tolist() == [1, 3, 5]
    assert found.loss == pytest.approx(losses.item(), rel=1e-6)
    assert found.correct is None
    assert found.accuracy is None
    assert found.per_class("abcd") == ()
    assert (
        "per position on 9 positions of 3 rows"
        in evaluation_finding(found, "test", "abcd").headline[0]
    )


def test_rows_without_a_label_do_not_count():
    found = result(targets=torch.tensor([0, -100, 0, -100]))
    assert found.accuracy == 0.5
    assert found.loss == pytest.approx(result(LOGITS[::2], torch.tensor([0, 0])).loss)
    assert found.loss_se == pytest.approx(result(LOGITS[::2], torch.tensor([0, 0])).loss_se)


def test_the_standard_error_of_positions_treats_rows_as_the_sample():
    generator = torch.Generator().manual_seed(1)
    estimates, errors = [], []
    for _ in range(400):
        logits = torch.randn(40, 6, 4, generator=generator) + torch.randn(
            40, 1, 4, generator=generator
        )
        targets = torch.randint(1, (40, 6), generator=generator)
        length = torch.randint(1, 7, (40, 1), generator=generator)
        mask = torch.arange(6) < length
        found = evaluate(Given(), [Batch(args=(logits,), targets=targets, mask=mask)])
        estimates.append(found.loss)
        errors.append(found.loss_se)
    assert np.mean(errors) == pytest.approx(np.std(estimates), rel=0.15)


def test_paired_differences_have_a_smaller_error():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(200, 3, generator=generator)
    targets = torch.randint(3, (200,), generator=generator)
    before, after = result(logits, targets), result(logits * 1.01, targets)
    mean, se = paired(after, before)
    difference = after.losses - before.losses
    assert mean == pytest.approx(difference.mean())
    assert se == pytest.approx(difference.std(ddof=1) / math.sqrt(200))
    assert se < after.loss_se / 10


@pytest.mark.parametrize(
    ("logits", "targets"), [(LOGITS[:3], TARGETS[:3]), (LOGITS, torch.tensor([0, 1, 0, 2]))]
)
def test_different_samples_cannot_be_paired(logits, targets):
    with pytest.raises(DataError, match="different samples"):
        paired(result(logits, targets), result())


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (Batch(args=(LOGITS,)), "need labels"),
        (Batch(args=(LOGITS,), targets=TARGETS + 2), "label 3 does not fit a model of 3 outputs"),
        (
            Batch(args=(LOGITS,), targets=TARGETS.float()),
            "targets must be class indices, got torch.float32",
        ),
        (Batch(args=(LOGITS[:, 0],), targets=TARGETS), "do not fit targets of shape"),
    ],
)
def test_labels_that_do_not_fit(batch, message):
    with pytest.raises(DataError, match=message):
        evaluate(Given(), [batch])


def test_nothing_to_evaluate_on():
    with pytest.raises(DataError, match="nothing to evaluate on"):
        evaluate(Given(), [])

"""Batches of a user's own: what is read, passed on, and refused with the way out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import nodelens
from nodelens.errors import ConfigError, DataError, ModelError, NodelensError

G = torch.Generator().manual_seed(0)
X, Y = torch.randn(24, 5, generator=G), torch.randint(0, 3, (24,), generator=G)


def net(outputs=3, inputs=5):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(inputs, 7), nn.ReLU(), nn.Linear(7, outputs))


def taylor(model, batches, **options):
    return nodelens.score(model, batches, ["taylor"], folds=2, **options)["taylor", "0:neurons"]


class Given(nn.Module):
    """Takes its labels as an argument of some name, and returns their loss beside the logits."""

    def __init__(self, key, factor=1.0):
        super().__init__()
        self.net, self.key, self.factor, self.seen = net(), key, factor, []
        code = f"lambda x, {key}=None: self._run(x, {key})"
        self.forward = eval(code, {"self": self})

    def _run(self, x, labels):
        self.seen.append(labels)
        logits = self.net(x)
        if labels is None:
            return logits
        return logits, self.factor * F.cross_entropy(logits, labels)


@pytest.mark.parametrize("key", ["labels", "target", "targets", "y", "label"])
@pytest.mark.parametrize("pair", [True, False])
def test_a_label_that_the_model_takes_is_passed_on(key, pair):
    model = Given(key)
    batch = (X, Y) if pair else {"x": X, key: Y}
    found = nodelens.score(model, [batch], ["taylor"], folds=2)["taylor", "net.0:neurons"]
    np.testing.assert_allclose(found.values, taylor(net(), [(X, Y)]).values, rtol=1e-6)
    assert model.seen
    assert not any(labels is None for labels in model.seen)


def test_a_model_that_returns_another_loss_for_its_labels_is_refused():
    with pytest.raises(DataError, match=r"returns a loss of .* and their cross_entropy is .*loss="):
        nodelens.score(Given("labels", 2.0), [(X, Y)], ["taylor"], folds=2)
    assert nodelens.score(Given("labels", 2.0), [(X, Y)], ["taylor"], folds=2, loss="cross_entropy")


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int16, torch.int32])
def test_class_numbers_may_have_any_width(dtype):
    found = taylor(net(), [(X, Y.to(dtype))])
    np.testing.assert_array_equal(found.values, taylor(net(), [(X, Y)]).values)


@pytest.mark.parametrize(
    ("outputs", "labels", "message"),
    [
        (3, Y[:, None], r"write labels\.squeeze\(1\)"),
        (3, Y + 1, "write labels - 1 if they start at 1"),
        (3, Y - 1, "label -1 does not fit a model of 3 outputs"),
        (1, torch.zeros_like(Y), "one output, whose cross-entropy is always 0: give loss='bce'"),
        (3, torch.rand(24, 3), "loss='bce' for several labels a row, loss='mse' for numbers"),
        (3, [1, 2] * 12, "cannot read a batch of type tuple of Tensor, list"),
        (3, ["cat", "dog"] * 12, r"give class_names=\[…\], in the order of the outputs"),
    ],
)
def test_labels_that_do_not_fit_name_the_fix(outputs, labels, message):
    with pytest.raises(DataError, match=message):
        taylor(net(outputs), [(X, labels)])


@pytest.mark.parametrize("write", [lambda y: y[:, None].squeeze(1), lambda y: (y + 1) - 1])
def test_the_named_fix_works(write):
    np.testing.assert_array_equal(
        taylor(net(), [(X, write(Y))]).values, taylor(net(), [(X, Y)]).values
    )


def test_text_labels_are_read_in_the_order_that_is_given():
    names = ["zebra", "ant", "cat"]
    text = [names[each] for each in Y]
    found = taylor(net(), [(X, text)], class_names=names)
    np.testing.assert_array_equal(found.values, taylor(net(), [(X, Y)]).values)
    with pytest.raises(ConfigError, match="class_names: a name is there twice"):
        taylor(net(), [(X, text)], class_names=["a", "a"])


@pytest.mark.parametrize(
    ("shape", "axis"), [((5,), 1), ((5,), -1), ((4, 4), 1), ((4, 4), -1)], ids=str
)
def test_an_axis_of_classes_that_two_fit_is_refused_and_can_be_named(shape, axis):
    torch.manual_seed(0)
    size = shape[-1]
    conv = nn.Conv1d if len(shape) == 1 else nn.Conv2d
    model = nn.Sequential(conv(3, 6, 3, padding=1), nn.ReLU(), conv(6, size, 1))
    x, y = torch.randn(8, 3, *shape), torch.randint(0, size, (8, *shape))
    with pytest.raises(DataError, match=r"in two ways.*give loss=\{'name': 'cross_entropy'"):
        nodelens.score(model, [(x, y)], ["first_order"], folds=2)
    loss = {"name": "cross_entropy", "class_axis": axis}
    found = nodelens.score(model, [(x, y)], ["first_order"], folds=2, loss=loss)
    hidden = model[1](model[0](x)).detach().requires_grad_()
    F.cross_entropy(model[2](hidden).movedim(axis, 1), y, reduction="sum").backward()
    expected = -(hidden * hidden.grad).flatten(2).sum(2).mean(0)
    values = found["first_order", "0:channels"].values
    np.testing.assert_allclose(values, expected.detach().numpy(), rtol=1e-4, atol=1e-7)


def test_an_axis_of_classes_that_one_fits_is_taken():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 4, 1))
    x, y = torch.randn(8, 3, 5, 6), torch.randint(0, 4, (8, 5, 6))
    one = nodelens.score(model, [(x, y)], ["taylor", "true_fisher"], folds=2)
    loss = {"name": "cross_entropy", "class_axis": 1}
    other = nodelens.score(model, [(x, y)], ["taylor", "true_fisher"], folds=2, loss=loss)
    for score in one:
        np.testing.assert_array_equal(score.values, other[score.metric, score.group].values)


class Two(nn.Module):
    """Returns two outputs, in a tuple or a dict."""

    def __init__(self, second, wrap):
        super().__init__()
        self.net, self.second, self.wrap = net(), nn.Linear(5, second), wrap

    def forward(self, x):
        return self.wrap((self.second(x), self.net(x)))


def test_outputs_of_which_one_fits_are_told_apart_and_two_are_refused():
    one_fits = Two(2, lambda pair: (pair[0][..., None], pair[1]))
    found = nodelens.score(one_fits, [(X, Y)], ["taylor"], folds=2)["taylor", "net.0:neurons"]
    np.testing.assert_allclose(found.values, taylor(net(), [(X, Y)]).values, rtol=1e-6)
    with pytest.raises(DataError, match=r"several outputs that fit the labels .*loss="):
        nodelens.score(Two(3, tuple), [(X, Y)], ["taylor"], folds=2)
    named = Two(3, lambda pair: dict(zip(("aux", "out"), pair, strict=True)))
    with pytest.raises(NodelensError, match="loss"):
        nodelens.score(named, [(X, Y)], ["taylor"], folds=2)


def test_labels_of_one_class_are_warned_of(caplog):
    taylor(net(), [(X, torch.ones_like(Y))])
    assert "all labels are of class 1: nothing can be learned from them" in caplog.text
    caplog.clear()
    taylor(net(), [(X, Y)])
    assert "nothing can be learned" not in caplog.text


@pytest.mark.parametrize(
    ("late", "message"),
    [
        ((X, Y[:5]), r"batch 3: logits of shape .* do not fit targets of shape \(5,\)"),
        ((X, None), "batch 3: cannot read a batch of type tuple of Tensor, NoneType"),
        ((X[:, :4], Y), r"does not run on batch 3 \(\(24, 4\)\): RuntimeError"),
        ((X.double(), Y), r"does not run on batch 3 \(\(24, 5\)\): RuntimeError"),
        ((X,), "batch 3: gradient metrics and evaluations need labels"),
        ((X, Y + 5), "batch 3: label 7 does not fit"),
        ({"x": X.tolist(), "labels": Y}, "batch 3: x: a list of list, expected a tensor"),
        ({"x": X.numpy(), "labels": Y}, "batch 3: x: an array of NumPy"),
    ],
)
def test_every_batch_is_checked(late, message):
    with pytest.raises(NodelensError, match=message):
        taylor(net(), [(X, Y), (X, Y), late])


def test_a_token_beyond_the_vocabulary_is_the_likely_reason():
    model = nn.Sequential(nn.Embedding(9, 5), *net())
    batches = [(torch.randint(0, 9, (4, 6)), torch.randint(0, 3, (4, 6))) for _ in range(3)]
    batches[2][0][1, 1] = 11
    message = "batch 3 .*0 has 9 rows and was asked for row 11: the data hold an id beyond the voca"
    with pytest.raises(ModelError, match=message):
        nodelens.score(model, batches, ["activation_rms"], folds=2)


def test_inputs_without_an_axis_of_samples_are_told():
    with pytest.raises(DataError, match=r"one sample without an axis of samples; give \(samples, "):
        nodelens.score(net(), [X[0]], ["activation_rms"], folds=2)
    model = nn.Sequential(nn.Embedding(9, 5), *net())
    assert nodelens.score(model, [torch.arange(8)], ["activation_rms"], folds=2).samples == 8


def test_a_number_of_samples_ends_batches_that_never_do(caplog):
    endless = ((X[:8], Y[:8]) for _ in itertools.count())
    scores = nodelens.score(net(), endless, ["taylor"], folds=2, samples=20)
    assert scores.samples == 20
    parts = [(X[:8], Y[:8]), (X[:8], Y[:8]), (X[:4], Y[:4])]
    expected = taylor(net(), parts)
    np.testing.assert_array_equal(scores["taylor", "0:neurons"].values, expected.values)
    with pytest.raises(ConfigError, match="samples: expected a whole number of at least 1, got 0"):
        taylor(net(), [(X, Y)], samples=0)


def test_batches_that_go_on_are_told_after_a_stated_number(caplog):
    big = torch.randn(50_000, 5)
    nodelens.score(net(), (big for _ in range(3)), ["activation_rms"], folds=2)
    assert caplog.text.count("100000 samples were read and more come; give samples=") == 1
    caplog.clear()
    nodelens.score(net(), [big] * 3, ["activation_rms"], folds=2)
    assert "more come" not in caplog.text

"""Conductance along a path against its definition, by derivatives of activations and fine steps."""

import pytest
import torch
from tests.metrics.networks import (
    Attention,
    Convolutional,
    Perceptron,
    Tokens,
    batches,
    data,
    made,
)
from torch import nn
from torch.autograd.functional import jvp
from torch.nn import functional as F

import nodelens
from nodelens.errors import CaptureError
from nodelens_metrics.paths.baselines import blank
from nodelens_metrics.paths.conductance import (
    Conductance,
    ConductanceCompleteness,
    InternalInfluence,
)


@pytest.fixture
def samples():
    return data(12, 4)


def hidden(net, x):
    """Return the two hidden layers of a perceptron."""
    first = net.act(net.first(x))
    return first, net.act(net.second(first))


def by_definition(net, x, y, steps=80):
    """Return ∫ ∂F/∂a · da/dα dα of both layers by row, midpoint rule, F = log p of the label."""
    totals = [0.0, 0.0]
    for point in (torch.arange(steps) + 0.5) / steps:
        values, speeds = jvp(lambda z: hidden(net, z), (point.double() * x,), (x,))
        leaves = [value.detach().requires_grad_() for value in values]
        later = net.act(net.second(leaves[0]))
        for number, (leaf, out) in enumerate(zip(leaves, (later, leaves[1]), strict=True)):
            value = -F.cross_entropy(net.head(out), y, reduction="sum")
            (slope,) = torch.autograd.grad(value, leaf)
            totals[number] = totals[number] + slope * speeds[number].detach() / steps
    return totals


def gain(net, x, y, start):
    """Return F(x) − F(x₀), mean over rows."""
    return F.cross_entropy(net(start), y) - F.cross_entropy(net(x), y)


def test_conductance_is_the_integral_of_its_definition(samples):
    net, (x, y) = made(Perceptron), samples
    expected = by_definition(net, x, y)
    metrics = [Conductance(steps=80), Conductance(steps=80, absolute=True)]
    for metric in metrics:
        scores = nodelens.score(net, [(x, y)], [metric], folds=2)
        for group, layer in zip(scores.groups, expected, strict=True):
            rows = layer.abs() if metric.absolute else layer
            found = torch.as_tensor(scores["Conductance", group].values)
            torch.testing.assert_close(found, rows.mean(0), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("baseline", ["zero", "mean"])
def test_every_layer_that_cuts_the_network_sums_to_the_whole(samples, baseline):
    net, (x, y) = made(Perceptron), samples
    start = 0 * x if baseline == "zero" else x.mean(1, keepdim=True).expand_as(x)
    whole = gain(net, x, y, start).item()
    errors = []
    for steps in (4, 12, 36):
        scores = nodelens.score(net, batches(x, y), [Conductance(steps, baseline)])
        sums = [score.values.sum() for score in scores]
        errors.append(max(abs(total - whole) for total in sums))
        assert len(sums) == 2
    assert errors[2] < 1e-3 * abs(whole)
    assert errors[1] < errors[0] / 5 and errors[2] < errors[1] / 5


@pytest.mark.parametrize("target", ["log_likelihood", "logit"])
@pytest.mark.parametrize("baseline", ["zero", "mean"])
def test_conductances_divided_by_their_completeness_are_the_whole_exactly(
    samples, baseline, target
):
    net, (x, y) = made(Perceptron, nn.ReLU), samples
    start = 0 * x if baseline == "zero" else x.mean(1, keepdim=True).expand_as(x)
    whole = gain(net, x, y, start)
    if target == "logit":
        whole = (net(x) - net(start)).gather(1, y.unsqueeze(1)).mean()
    missing = []
    for steps in (3, 9):
        metrics = [kind(steps, baseline, target) for kind in (Conductance, ConductanceCompleteness)]
        scores = nodelens.score(net, batches(x, y, (5,)), metrics)
        for group in scores.groups:
            share = scores["ConductanceCompleteness", group].values.item()
            total = scores["Conductance", group].values.sum() / share
            assert total == pytest.approx(whole.item(), rel=1e-12)
            missing.append(abs(share - 1))
    assert 0 < max(missing[2:]) < max(missing[:2])


class Square(nn.Module):
    """A quadratic function of a hidden layer that is linear in the input."""

    def __init__(self):
        super().__init__()
        self.first, self.head = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x):
        return self.head(self.first(x)).square()


def test_where_the_output_is_quadratic_two_points_are_exact(samples):
    net, (x, y) = made(Square), samples
    (score,) = nodelens.score(net, batches(x, y), [Conductance(2, target="logit")])
    logits = (net(x) - net(0 * x)).gather(1, y.unsqueeze(1))
    assert score.values.sum() == pytest.approx(logits.mean().item(), rel=1e-10)


def test_nodes_that_are_read_at_several_places_have_no_completeness():
    scores = nodelens.score(
        made(Attention), [texts()], [ConductanceCompleteness(3), Conductance(3)]
    )
    complete = {group for metric, group in scores.layers if metric == "ConductanceCompleteness"}
    assert complete == {group for group in scores.groups if "residual" not in group}


def test_where_the_output_is_linear_it_is_gradient_times_change(samples):
    net, (x, y) = made(Linear), samples
    (score,) = nodelens.score(net, batches(x, y), [Conductance(2, target="logit")])
    change = net.first(x) - net.first(0 * x)
    expected = (net.head.weight[y] * change).mean(0).detach()
    torch.testing.assert_close(torch.as_tensor(score.values), expected)
    (influence,) = nodelens.score(net, batches(x, y), [InternalInfluence(2, target="logit")])
    mean = net.head.weight[y].mean(0).detach()
    torch.testing.assert_close(torch.as_tensor(influence.values), mean)


class Linear(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.head = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x):
        return self.head(self.first(x))


def test_influence_is_the_mean_gradient_on_the_way(samples):
    net, (x, y) = made(Perceptron), samples
    total = torch.zeros(3).double()
    for point in (torch.arange(100, dtype=torch.float64) + 0.5) / 100:
        second = hidden(net, point * x)[1].detach().requires_grad_()
        value = -F.cross_entropy(net.head(second), y, reduction="sum")
        total += torch.autograd.grad(value, second)[0].sum(0) / 100
    scores = nodelens.score(net, batches(x, y), [InternalInfluence(steps=40)])
    found = torch.as_tensor(scores["InternalInfluence", scores.groups[1]].values)
    torch.testing.assert_close(found, total / len(x), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("baseline", ["zero", "mean"])
def test_convolutions_with_normalisation_and_an_activation_in_place(baseline):
    net, (x, y) = made(Convolutional), data(10, 2, 3, 3)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    (score,) = nodelens.score(net, batches(x, y), [Conductance(80, baseline)])
    start = 0 * x if baseline == "zero" else x.mean((2, 3), keepdim=True).expand_as(x)
    assert score.values.sum() == pytest.approx(gain(net, x, y, start).item(), rel=1e-2)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def texts(rows=6, length=5):
    ids = torch.arange(rows * length).reshape(rows, length) * 7 % 11
    return {"input_ids": ids, "labels": (ids + 1) % 11}


@pytest.mark.parametrize("baseline", ["zero", "mean"])
def test_tokens_are_moved_where_they_become_vectors(baseline):
    net, batch = made(Tokens), texts()
    words = net.embed(batch["input_ids"])
    places = net.place(torch.arange(5)).detach()
    start = 0 * words if baseline == "zero" else words.mean(1, keepdim=True) + places

    def loss(vectors):
        logits = net.head(F.gelu(net.up(vectors)))
        return F.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten()) * 5

    scores = nodelens.score(net, [batch], [Conductance(60, baseline)])
    whole = (loss(start) - loss(words + places)).item()
    assert len(scores.groups) == 2
    for score in scores:
        assert score.values.sum() == pytest.approx(whole, rel=1e-3)


@pytest.mark.parametrize("baseline", ["zero", "mean"])
def test_padding_and_batching_change_nothing(baseline):
    net, batch = made(Tokens), texts()
    padded = {
        "input_ids": F.pad(batch["input_ids"], (0, 2)),
        "labels": F.pad(batch["labels"], (0, 2), value=-100),
        "attention_mask": F.pad(torch.ones_like(batch["input_ids"]), (0, 2)),
    }
    alone = [{key: value[row : row + 1] for key, value in padded.items()} for row in range(6)]
    metrics = [Conductance(4, baseline), Conductance(4, baseline, "logit"), InternalInfluence(4)]
    for metric in metrics:
        whole, *others = (
            next(iter(nodelens.score(net, given, [metric]))) for given in ([batch], [padded], alone)
        )
        for other in others:
            torch.testing.assert_close(torch.tensor(other.values), torch.tensor(whole.values))


def test_a_transformer_with_residuals_and_attention():
    scores = nodelens.score(made(Attention), [texts()], [Conductance(3), InternalInfluence(3)])
    assert not scores.failed and len(scores.groups) == 3
    assert all(abs(score.values).max() > 0 for score in scores)


class Keywords(Tokens):
    """Calls its embeddings by keyword, and reads a mask of floats."""

    def forward(self, input_ids, attention_mask=None):
        places = self.place(input=torch.arange(input_ids.shape[1]))
        vectors = self.embed(input=input_ids) * attention_mask.unsqueeze(-1)
        return self.head(F.gelu(self.up(vectors + places)))


@pytest.mark.parametrize("baseline", ["zero", "mean"])
def test_embeddings_called_by_keyword_are_moved_and_a_mask_of_floats_is_not(baseline):
    plain = texts()
    masked = {**plain, "attention_mask": torch.ones(6, 5, dtype=torch.float64)}
    for metric in (Conductance(4, baseline), InternalInfluence(4, baseline)):
        expected = next(iter(nodelens.score(made(Tokens), [plain], [metric])))
        found = next(iter(nodelens.score(made(Keywords), [masked], [metric])))
        assert found.values == pytest.approx(expected.values)


class Shifted(Tokens):
    def forward(self, input_ids, attention_mask=None):
        return super().forward(input_ids * 1)


def test_tokens_that_no_embedding_looks_up_are_an_error():
    with pytest.raises(CaptureError, match="nothing can be moved along a path from mean"):
        nodelens.score(made(Shifted), [texts()], [Conductance(3, "mean")])


def test_a_dead_node_conducts_nothing(samples):
    net, (x, y) = made(Perceptron, nn.ReLU), samples
    with torch.no_grad():
        net.first.bias[3] = -1e3
    scores = nodelens.score(net, [(x, y)], [Conductance(5)])
    assert scores["Conductance", scores.groups[0]].values[3] == 0.0


def test_two_nodes_that_are_the_same_conduct_the_same(samples):
    net, (x, y) = made(Perceptron), samples
    with torch.no_grad():
        net.first.weight[1], net.first.bias[1] = net.first.weight[0], net.first.bias[0]
        net.second.weight[:, 1] = net.second.weight[:, 0]
    scores = nodelens.score(net, [(x, y)], [Conductance(5)])
    values = scores["Conductance", scores.groups[0]].values
    assert values[0] == pytest.approx(values[1])


def test_the_mean_of_an_image_is_that_of_its_channels():
    x, _ = data(3, 2, 4, 5)
    torch.testing.assert_close(blank(x), x.mean((2, 3), keepdim=True).expand_as(x))


def test_the_mean_of_a_padded_row_leaves_padding_out():
    x, _ = data(2, 3, 4)
    mask = torch.tensor([[True, True, False], [True, True, True]])
    expected = torch.stack([x[0, :2].mean(), x[1].mean()])
    torch.testing.assert_close(blank(x, mask)[:, 0, 0], expected)


@pytest.mark.parametrize("steps", [0, 1])
def test_a_path_has_two_points_or_more(steps):
    with pytest.raises(ValueError, match="'steps' must be >= 2"):
        Conductance(steps)


class Normalised(nn.Module):
    """A residual network whose norms divide by what they read: no gradient at zeros."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(6, 6, bias=False) for _ in range(12))
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        for layer in self.layers:
            x = x + layer(F.rms_norm(x, (6,), eps=1e-12))
        return self.head(x)


def test_gradients_that_overflow_at_zeros_are_told_with_what_to_do_instead(samples):
    torch.manual_seed(0)
    x, y = torch.randn(12, 6), samples[1]
    net = Normalised()
    with pytest.raises(CaptureError, match="at 0% of the path from zero to the data, the gradient"):
        nodelens.score(net, [(x, y)], [Conductance()])
    with pytest.raises(CaptureError, match="at the data all is finite: try `baseline: mean`"):
        nodelens.score(net, [(x, y)], [InternalInfluence()])
    found = nodelens.score(net, [(x + 5.0, y)], [Conductance(baseline="mean")])
    assert all(torch.as_tensor(score.values).isfinite().all() for score in found)


@pytest.mark.parametrize("baseline", ["zero", "mean"])
def test_what_is_not_finite_at_the_data_is_no_matter_of_the_baseline(samples, baseline):
    x, y = samples
    broken = x.clone()
    broken[3] = torch.nan
    with pytest.raises(CaptureError, match="samples 3; look at these samples"):
        nodelens.score(made(Perceptron), [(broken, y)], [Conductance(baseline=baseline)], folds=2)


def test_the_embeddings_of_the_data_are_whole_when_they_are_looked_at_again():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Embedding(9, 6), Normalised())
    tokens, labels = torch.randint(9, (8,)), torch.randint(3, (8,))
    with pytest.raises(CaptureError, match="at the data all is finite: try `baseline: mean`"):
        nodelens.score(net, [(tokens, labels)], [Conductance()], folds=2)

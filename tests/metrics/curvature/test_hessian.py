"""Products with the Hessian against the matrix itself, on networks that are small enough."""

import pytest
import torch
from tests.metrics.networks import Attention, Convolutional, Perceptron, batches, data, made
from torch.autograd.functional import hessian, jacobian
from torch.func import functional_call
from torch.nn import functional as F

import nodelens
from nodelens.capture.batches import Batch
from nodelens.capture.hooks.site_reading import folds_of
from nodelens.capture.losses import row_losses
from nodelens.scoring.jackknife import jackknife_se
from nodelens_metrics.curvature.hessian import OBD, GraSP, HessianTrace
from nodelens_metrics.curvature.hessian_products import product_with

MATRICES = ("hessian", "gauss_newton")


@pytest.fixture
def net():
    return made(Perceptron)


@pytest.fixture
def samples():
    return data(40, 4)


def flat(model):
    return torch.cat([each.detach().flatten() for each in model.parameters()])


def unflattened(model, vector):
    sizes = [each.numel() for each in model.parameters()]
    parts = vector.split(sizes)
    return {
        name: part.view_as(each)
        for (name, each), part in zip(model.named_parameters(), parts, strict=True)
    }


def matrix_of(model, x, y, matrix):
    """Return the Hessian, or its Gauss–Newton part, of the mean cross-entropy of a row."""

    def logits(vector):
        return functional_call(model, unflattened(model, vector), (x,))

    def loss(vector):
        return F.cross_entropy(logits(vector), y)

    point = flat(model)
    if matrix == "hessian":
        return hessian(loss, point)
    p = logits(point).softmax(-1)
    inner = torch.diag_embed(p) - p.unsqueeze(-1) * p.unsqueeze(-2)
    slopes = jacobian(logits, point)
    return torch.einsum("nap,nab,nbq->pq", slopes, inner, slopes) / len(x)


def owned_sums(model, vector, group):
    """Return sums of a vector of all parameters over what each node owns, by role."""
    parts = unflattened(model, vector)
    found = {role: torch.zeros(group.width).double() for role in ("producer", "consumer")}
    found["carrier"] = torch.zeros(group.width).double()
    for piece in group.slices:
        if piece.parameter in parts:
            own = piece.extent.nodes_first(parts[piece.parameter].contiguous(), piece.axis)
            found[piece.role] += own.sum(1)
    return found


@pytest.mark.parametrize("matrix", MATRICES)
def test_a_product_is_that_with_the_matrix(net, samples, matrix):
    x, y = samples
    full = len(x) * matrix_of(net, x, y, matrix)
    product = product_with(matrix, net, Batch((x,), targets=y), row_losses, [*net.parameters()])
    for seed in range(3):
        vector = torch.randn(len(full), generator=torch.Generator().manual_seed(seed)).double()
        found = product([*unflattened(net, vector).values()])
        torch.testing.assert_close(torch.cat([part.flatten() for part in found]), full @ vector)


SLICES = ("all", "producer", "consumer", "carrier")


@pytest.mark.parametrize("matrix", MATRICES)
def test_traces_are_those_of_the_matrix_within_their_errors(net, samples, matrix):
    x, y = samples
    diagonal = matrix_of(net, x, y, matrix).diagonal()
    wanted = {"hessian_trace": diagonal, "obd": 0.5 * diagonal * flat(net).square()}
    graph = nodelens.infer(net, x)
    asked = {f"{name}-of-{slices}": (name, slices) for name in wanted for slices in SLICES}
    metrics = [
        {"name": name, "label": label, "matrix": matrix, "slices": slices, "probes": 100}
        for label, (name, slices) in asked.items()
    ]
    for found in nodelens.score(net, [(x, y)], metrics, folds=20):
        name, slices = asked[found.metric]
        by_role = owned_sums(net, wanted[name], graph[found.group])
        expected = sum(by_role.values()) if slices == "all" else by_role[slices]
        distance = (torch.as_tensor(found.values) - expected).abs()
        assert (distance <= 6 * torch.as_tensor(found.se) + 1e-12).all()
        assert distance.max() < 0.5 * sum(by_role.values()).abs().max()


def test_more_probes_give_smaller_errors(net, samples):
    few, many = (
        nodelens.score(net, batches(*samples), [HessianTrace(probes=probes)]) for probes in (1, 40)
    )
    for group in few.groups:
        small, large = (s["HessianTrace", group].se.mean() for s in (many, few))
        assert small < large


def test_batching_does_not_change_the_draw(net, samples):
    one, other = (
        nodelens.score(net, batches(*samples, sizes), [HessianTrace(), OBD(), GraSP()])
        for sizes in ((40,), (3, 11, 1))
    )
    for score in one:
        torch.testing.assert_close(
            torch.as_tensor(score.values), torch.as_tensor(other[score.metric, score.group].values)
        )


def test_the_gauss_newton_matrix_knows_what_zeroing_costs_at_a_perfect_fit():
    """ŷ = v·a with r = 0: the gradient is 0, the true change ½v²E[a²]; Taylor and Fisher say 0."""
    net = made(Linear)
    x, _ = data(30, 2)
    target = net(x).detach()

    def loss(output, batch):
        return 0.5 * (output - target[batch.numbers]).square().sum(1)

    metrics = [OBD("gauss_newton", "consumer", probes=50), "taylor", "sample_fisher"]
    scores = nodelens.score(net, [x], metrics, loss=loss)
    (group,) = scores.groups
    a = net.first(x)
    change = 0.5 * (net.head.weight[0].square() * a.square().mean(0)).detach()
    found = scores["OBD", group]
    assert (abs(found.values - change.numpy()) <= 8 * found.se + 1e-12).all()
    assert scores["taylor", group].values.tolist() == [0.0] * 3
    assert scores["sample_fisher", group].values.tolist() == [0.0] * 3


class Linear(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.head = torch.nn.Linear(2, 3), torch.nn.Linear(3, 1)

    def forward(self, x):
        return self.head(self.first(x))


def weights_of(model):
    return torch.cat([torch.full_like(p, float(p.ndim > 1)).flatten() for p in model.parameters()])


def flow_of(net, x, y):
    """Return −θ∘Hg of the weights, biases left out."""
    matrix, counts = matrix_of(net, x, y, "hessian"), weights_of(net)

    def loss(vector):
        return F.cross_entropy(functional_call(net, unflattened(net, vector), (x,)), y)

    gradient = jacobian(loss, flat(net))
    return -flat(net) * counts * (matrix @ (counts * gradient))


@pytest.mark.parametrize("slices", ["all", "producer", "consumer"])
def test_grasp_is_the_product_of_mean_hessian_and_mean_gradient(net, samples, slices):
    x, y = samples
    scores = nodelens.score(net, batches(x, y, (5, 9)), [GraSP(slices)])
    for name in scores.groups:
        by_role = owned_sums(net, flow_of(net, x, y), nodelens.infer(net, x)[name])
        expected = sum(by_role.values()) if slices == "all" else by_role[slices]
        torch.testing.assert_close(torch.as_tensor(scores["GraSP", name].values), expected)


def test_the_error_of_grasp_leaves_a_fold_out_of_both_factors(net, samples):
    x, y = samples
    folds = folds_of(torch.arange(len(x)), 8)
    scores = nodelens.score(net, batches(x, y), [GraSP()], folds=8)
    graph = nodelens.infer(net, x)
    measured = [name for name in scores.groups if scores["GraSP", name].se is not None]
    assert measured
    for name in measured:
        left = [
            sum(owned_sums(net, flow_of(net, x[keep], y[keep]), graph[name]).values())
            for keep in (folds != fold for fold in range(8))
        ]
        found = scores["GraSP", name]
        expected = jackknife_se(torch.as_tensor(found.values), torch.stack(left), folds.bincount())
        torch.testing.assert_close(torch.as_tensor(found.se), expected)


@pytest.mark.parametrize("metric", [HessianTrace(), OBD("gauss_newton"), GraSP()], ids=str)
def test_convolutions_normalisation_and_in_place_activations(metric):
    net = made(Convolutional)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    scores = nodelens.score(net, batches(*data(12, 2, 3, 3)), [metric])
    assert not scores.failed and len(scores) == 1
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(each.requires_grad and each.grad is None for each in net.parameters())


@pytest.mark.parametrize("metric", [HessianTrace(), OBD("gauss_newton"), GraSP()], ids=str)
def test_fused_attention_can_be_differentiated_twice(metric):
    net = made(Attention)
    ids = torch.arange(40).reshape(8, 5) * 7 % 11
    scores = nodelens.score(net, [{"input_ids": ids, "labels": (ids + 1) % 11}], [metric])
    assert not scores.failed
    assert len(scores.groups) >= 2


def test_dead_nodes_have_no_curvature():
    net = made(Perceptron, torch.nn.ReLU)
    with torch.no_grad():
        net.first.bias[2] = -1e3
    x, y = data(20, 4)
    scores = nodelens.score(net, [(x, y)], [HessianTrace(), OBD(), GraSP()])
    group = nodelens.infer(net, x).groups[0].name
    for metric in ("HessianTrace", "OBD", "GraSP"):
        assert scores[metric, group].values[2] == 0.0

"""Kronecker factors against the matrices themselves."""

import pytest
import torch
from tests.metrics.networks import Attention, Convolutional, batches, data, made
from torch.nn import functional as F

import nodelens
from nodelens.capture.batches import Batch
from nodelens.capture.losses import sampled_labels
from nodelens.errors import NotApplicableError
from nodelens_metrics.curvature.kfac import KFAC, EigenDamageShare

ROWS, NODES, INPUTS = 80, 5, 4


@pytest.fixture
def layer():
    """Return inputs with a 1 appended, weights with the bias, pre-activations and gradients."""
    random = torch.Generator().manual_seed(3)

    def normal(*shape):
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    x = torch.cat([normal(ROWS, INPUTS) @ normal(INPUTS, INPUTS), torch.ones(ROWS, 1)], 1)
    w, g = normal(NODES, INPUTS + 1), normal(ROWS, NODES) @ normal(NODES, NODES)
    return x.double(), w, x @ w.T, g


@pytest.fixture
def scored(score, layer):
    """Score a layer whose nonlinearity is the identity."""
    _, w, y, g = layer

    def run(metric):
        return score(metric, y.abs() + 1, pre=y.abs() + 1, gradient=g, w=w)

    return run


@pytest.fixture
def factors(layer):
    """Return WAWᵀ and G of the layer as it is scored, where all nodes are on."""
    _, _, y, g = layer
    y = y.abs() + 1
    return y.T @ y / ROWS, g.T @ g / ROWS


def test_the_energy_of_a_row_holds_the_bias(layer):
    """wAwᵀ with a 1 appended to the input is E[y²]: no input has to be unfolded."""
    x, w, y, _ = layer
    torch.testing.assert_close(w @ (x.T @ x / ROWS) @ w.T, y.T @ y / ROWS)


def test_kfac_is_half_the_quadratic_form_of_the_row(scored, layer, factors):
    energy, gradients = factors
    full = 0.5 * energy.diagonal() * gradients.diagonal()
    torch.testing.assert_close(scored(KFAC(labels="data")), full)


def test_kfac_equals_the_kronecker_product_restricted_to_a_row(score):
    """½ vec(W)ᵀ(G ⊗ A)vec(W) with all other rows zero, in full."""
    random = torch.Generator().manual_seed(4)
    x = torch.rand(30, 3, generator=random, dtype=torch.float64) + 0.1
    w = torch.rand(4, 3, generator=random, dtype=torch.float64) + 0.1
    g = torch.randn(30, 4, generator=random, dtype=torch.float64)
    fisher = torch.kron(g.T @ g / 30, x.T @ x / 30)
    rows = [torch.diag(unit) @ w for unit in torch.eye(4, dtype=torch.float64)]
    expected = torch.stack([0.5 * row.flatten() @ fisher @ row.flatten() for row in rows])
    found = score(KFAC(labels="data"), x @ w.T, pre=x @ w.T, gradient=g, w=w)
    torch.testing.assert_close(found, expected)


def test_the_repair_is_the_best_one_that_the_other_rows_can_give(scored, factors):
    """min over the other rows of ½ δᵀ(G ⊗ A)δ with row i of δ fixed to −w_i."""
    energy, gradients = factors
    inverse = torch.linalg.inv(gradients)
    for node in range(NODES):
        others = [n for n in range(NODES) if n != node]
        block = torch.linalg.solve(gradients[others][:, others], gradients[others, node])
        left = gradients[node, node] - gradients[node, others] @ block
        torch.testing.assert_close(left, 1 / inverse[node, node])
    found = scored(KFAC("weights", damping=0.0, labels="data"))
    torch.testing.assert_close(found, 0.5 * energy.diagonal() / inverse.diagonal())
    assert (found <= scored(KFAC(labels="data"))).all()


def test_damping_lets_the_other_rows_make_up_for_less(scored, factors):
    energy, gradients = factors
    damped = gradients + 0.5 * gradients.diagonal().mean() * torch.eye(NODES)
    found = scored(KFAC("weights", damping=0.5, labels="data"))
    inverse = torch.linalg.inv(damped).diagonal()
    torch.testing.assert_close(found, 0.5 * energy.diagonal() / inverse)
    assert (found > scored(KFAC("weights", damping=0.0, labels="data"))).all()


@pytest.mark.parametrize("repair", ["none", "weights"])
def test_the_loss_is_that_of_a_row_with_independent_positions(score, repair):
    random = torch.Generator().manual_seed(6)
    y, g = torch.randn(2, 12, 3, 4, generator=random, dtype=torch.float64)
    flat = (y.flatten(0, 1).unsqueeze(1), g.flatten(0, 1).unsqueeze(1))
    alone = score(KFAC(repair, labels="data"), flat[0], pre=flat[0], gradient=flat[1])
    torch.testing.assert_close(score(KFAC(repair, labels="data"), y, pre=y, gradient=g), 3 * alone)
    alone = score(EigenDamageShare("data"), flat[0], pre=flat[0], gradient=flat[1])
    torch.testing.assert_close(score(EigenDamageShare("data"), y, pre=y, gradient=g), 3 * alone)


def convolution_factors(net, x, y):
    """Return w with the bias, A and S of a convolution: patches and gradients of single images.

    A holds 1/T of a row's patches and S is T² that of a position (T positions, as in the published
    code), so that their product is T times that of the means over positions.
    """
    written = []
    hook = net.conv.register_forward_hook(lambda _, __, output: written.append(output))
    logits = net(x)
    hook.remove()
    (g,) = torch.autograd.grad(F.cross_entropy(logits, y, reduction="sum"), written[0])
    patches = F.unfold(x, 3, padding=1).mT
    patches = torch.cat([patches, torch.ones_like(patches[..., :1])], 2)
    rows, size = patches.shape[:2]
    a = torch.einsum("ntp,ntq->pq", patches, patches) / (rows * size**2)
    s = torch.einsum("ncij,ndij->cd", g, g) * size / rows
    w = torch.cat([net.conv.weight.flatten(1), net.conv.bias.unsqueeze(1)], 1).detach()
    return w, a, s


@pytest.mark.parametrize("labels", ["data", "model"])
@pytest.mark.parametrize("repair", ["none", "weights"])
def test_a_convolution_has_the_published_score_with_either_labels(repair, labels):
    net, (x, y) = made(Convolutional), data(20, 2, 3, 3)
    if labels == "model":
        y = sampled_labels(net(x), Batch((x,), targets=y)).targets
    w, a, s = convolution_factors(net, x, y)
    size = s.diagonal() if repair == "none" else 1 / torch.linalg.inv(s).diagonal()
    expected = 0.5 * size * ((w @ a) * w).sum(1)
    metrics = [KFAC(repair, damping=0.0, labels=labels)]
    (found,) = nodelens.score(net, batches(*data(20, 2, 3, 3)), metrics, folds=4)
    torch.testing.assert_close(torch.as_tensor(found.values), expected)


def test_either_labels_share_the_loss_of_their_own_fisher_matrix():
    net, (x, y) = made(Convolutional), data(20, 2, 3, 3)
    drawn = sampled_labels(net(x), Batch((x,), targets=y)).targets
    for labels, chosen in (("data", y), ("model", drawn)):
        w, a, s = convolution_factors(net, x, chosen)
        (found,) = nodelens.score(net, batches(x, y), [EigenDamageShare(labels)], folds=4)
        assert found.values.sum() == pytest.approx(0.5 * torch.trace(s @ w @ a @ w.T).item())


def test_nodes_that_several_weights_write_have_no_one_fisher_matrix():
    ids = torch.arange(40).reshape(8, 5) * 7 % 11
    batch = {"input_ids": ids, "labels": (ids + 1) % 11}
    metrics = [KFAC(), EigenDamageShare(), "activation_rms"]
    scores = nodelens.score(made(Attention), [batch], metrics, folds=2)
    written = {score.group for score in scores if score.metric != "activation_rms"}
    assert written < set(scores.groups)
    assert all("residual" not in group for group in written)


def test_eigendamage_shares_sum_to_the_score_of_all_directions(scored, factors):
    energy, gradients = factors
    total = 0.5 * torch.trace(gradients @ energy)
    torch.testing.assert_close(scored(EigenDamageShare("data")).sum(), total)


def test_eigendamage_is_the_rows_of_the_rotated_weight_divided_by_loadings(score):
    random = torch.Generator().manual_seed(5)
    x = torch.rand(40, 3, generator=random, dtype=torch.float64) + 0.1
    w = torch.rand(4, 3, generator=random, dtype=torch.float64) + 0.1
    g = torch.randn(40, 4, generator=random, dtype=torch.float64)
    y = x @ w.T
    lam_a, q_a = torch.linalg.eigh(x.T @ x / 40)
    lam_g, q_g = torch.linalg.eigh(g.T @ g / 40)
    rotated = q_g.T @ w @ q_a
    rows = 0.5 * (rotated.square() * lam_g.unsqueeze(1) * lam_a).sum(1)
    found = score(EigenDamageShare("data"), y, pre=y, gradient=g, w=w)
    torch.testing.assert_close(found, q_g.square() @ rows)


def test_uncorrelated_gradients_make_the_three_agree(score):
    y = torch.tensor([[1.0, 2], [3, 1], [2, 2], [1, 1]])
    g = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]]) * torch.tensor([2.0, 3])
    plain = score(KFAC(labels="data"), y, pre=y, gradient=g)
    torch.testing.assert_close(
        score(KFAC("weights", damping=0.0, labels="data"), y, pre=y, gradient=g), plain
    )
    torch.testing.assert_close(score(EigenDamageShare("data"), y, pre=y, gradient=g), plain)


def test_duplicate_gradients_are_singular_without_damping(score):
    y = torch.tensor([[1.0, 2], [3, 1], [2, 2]])
    g = torch.tensor([[1.0, 1], [2, 2], [-1, -1]])
    with pytest.raises(NotApplicableError, match="set damping above 0"):
        score(KFAC("weights", damping=0.0, labels="data"), y, pre=y, gradient=g)
    assert score(KFAC("weights", labels="data"), y, pre=y, gradient=g).isfinite().all()

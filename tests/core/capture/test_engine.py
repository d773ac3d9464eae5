"""The streaming pass against activations that are stored and computed with by brute force."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from nodelens.capture.batches import Batch
from nodelens.capture.engine import run_capture
from nodelens.capture.hooks.site_reading import folds_of
from nodelens.capture.losses import row_losses
from nodelens.capture.plan.capture_plan import CapturePlan, PlanEntry
from nodelens.capture.request import CaptureRequest
from nodelens.channels.infer import infer
from nodelens.errors import CaptureError, DataError, ModelError
from nodelens.statistics.classes import ClassMoments
from nodelens.statistics.gradients import GradientMoments, RowGradients
from nodelens.statistics.gram import Gram
from nodelens.statistics.magnitudes import Magnitudes
from nodelens.statistics.moments import Moments, RowMoments
from nodelens.testing.statistic_checks import tensors_of

CPU = torch.device("cpu")
ALL = (
    Moments(),
    Magnitudes(),
    RowMoments(),
    GradientMoments(),
    RowGradients(),
    Gram(),
    ClassMoments(),
)
KEEP = torch.ones(4, dtype=torch.bool)


class Net(nn.Module):
    def __init__(self, inplace: bool = False):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.act = nn.ReLU(inplace)
        self.head = nn.Linear(4 * 16, 3)

    def forward(self, x):
        return self.head(self.act(self.bn(self.conv(x))).flatten(1))


def data(rows: int = 23):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 1, 4, 4, dtype=torch.float64, generator=g)
    return x, torch.randint(0, 3, (rows,), generator=g)


def net(inplace: bool = False) -> Net:
    torch.manual_seed(3)
    return Net(inplace).double().eval()


def plan_for(model, example, statistics=ALL, group="conv:channels"):
    graph = infer(model, example)
    return CapturePlan((PlanEntry(graph[group], tuple(statistics)),), folds=4, classes=3), graph


def capture(model, batches, statistics=ALL, example=None, group="conv:channels", **options):
    plan, graph = plan_for(model, data()[0][:2] if example is None else example, statistics, group)
    return run_capture(CaptureRequest(model, graph, batches, plan, CPU, **options))


def chunks(x, y, sizes):
    return list(zip(x.split(sizes), y.split(sizes), strict=True))


def test_every_statistic_equals_what_stored_activations_give():
    x, y = data()
    model = net()
    states = capture(model, chunks(x, y, [10, 10, 3])).states["conv:channels"]
    a = model.act(model.bn(model.conv(x))).detach().requires_grad_()
    loss = F.cross_entropy(model.head(a.flatten(1)), y, reduction="sum")
    (g,) = torch.autograd.grad(loss, a)
    rows = a.detach().flatten(2).transpose(1, 2)
    flat, grad = rows.flatten(0, 1), g.flatten(2).transpose(1, 2)
    q = rows * grad
    moments = Moments().summary(states[Moments()], KEEP)
    assert torch.allclose(moments.mean, flat.mean(0), rtol=1e-12)
    assert torch.allclose(moments.variance, flat.var(0, correction=0), rtol=1e-12)
    magnitudes = Magnitudes().summary(states[Magnitudes()], KEEP)
    assert torch.equal(magnitudes.maximum, flat.amax(0))
    assert torch.allclose(magnitudes.zero_fraction, (flat == 0).double().mean(0))
    gradients = GradientMoments().summary(states[GradientMoments()], KEEP)
    assert torch.allclose(gradients.q2, q.flatten(0, 1).square().mean(0), rtol=1e-12)
    centred = (rows - flat.mean(0)) * grad
    expected = centred.square().flatten(0, 1).mean(0)
    assert torch.allclose(gradients.centred_q2, expected, rtol=1e-12)
    per_row = RowGradients().summary(states[RowGradients()], KEEP)
    assert torch.allclose(per_row.q2, q.sum(1).square().mean(0), rtol=1e-12)
    gram = Gram().summary(states[Gram()], KEEP)
    assert torch.allclose(gram.covariance, torch.cov(flat.T, correction=0), rtol=1e-10)
    by_class = ClassMoments().summary(states[ClassMoments()], KEEP)
    expected = torch.stack([rows.mean(1)[y == k].mean(0) for k in range(3)])
    assert torch.allclose(by_class.mean, expected, rtol=1e-12)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=8))
def test_any_partition_of_the_data_gives_the_same_states(sizes):
    x, y = data(sum(sizes))
    model = net()
    whole = capture(model, [(x, y)]).states["conv:channels"]
    parts = capture(model, chunks(x, y, sizes)).states["conv:channels"]
    for statistic in (Moments(), RowMoments(), GradientMoments(), RowGradients()):
        one, other = (
            tensors_of(statistic.summary(states[statistic], KEEP)) for states in (whole, parts)
        )
        for name, left in one.items():
            assert torch.allclose(left, other[name], rtol=1e-10, atol=1e-12)


def test_a_fold_belongs_to_the_sample_not_to_the_batch():
    whole = folds_of(torch.arange(20), 4)
    parts = torch.cat([folds_of(torch.arange(7), 4), folds_of(torch.arange(7, 20), 4)])
    assert torch.equal(whole, parts)
    assert torch.bincount(folds_of(torch.arange(8000), 8)).min() > 850


def test_in_place_activation_after_the_site_does_not_change_what_was_read():
    x, y = data()
    one = capture(net(inplace=False), [(x, y)]).states["conv:channels"]
    other = capture(net(inplace=True), [(x, y)]).states["conv:channels"]
    for statistic in ALL:
        for name, tensor in one[statistic].items():
            assert torch.allclose(tensor, other[statistic][name], rtol=1e-12), (statistic, name)


def test_a_tensor_overwritten_after_it_was_read_keeps_its_gradient_statistics():
    class Overwrites(nn.Module):
        def __init__(self, inplace):
            super().__init__()
            torch.manual_seed(0)
            self.inplace = inplace
            self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 3)

        def forward(self, x):
            x = self.a(x)
            y = self.b(x)
            x = x.add_(y) if self.inplace else x + y
            return self.c(x)

    x = torch.randn(9, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    y = torch.arange(9) % 3
    results = []
    for inplace in (False, True):
        model = Overwrites(inplace).double()
        got = capture(model, [(x, y)], (GradientMoments(),), x[:2], "a:residual")
        results.append(got.states["a:residual"][GradientMoments()])
    for name, tensor in results[0].items():
        assert torch.allclose(tensor, results[1][name], rtol=1e-10), name


def test_everything_of_the_model_is_restored_also_when_it_raises():
    class Raises(Net):
        def forward(self, x):
            if len(x) == 5:
                raise RuntimeError("on purpose")
            return super().forward(x)

    model = Raises().double().train()
    model.conv.weight.requires_grad_(False)
    wanted = [p.requires_grad for p in model.parameters()]
    x, y = data(11)
    with pytest.raises(ModelError, match="on purpose"):
        capture(model, chunks(x, y, [6, 5]))
    assert [p.requires_grad for p in model.parameters()] == wanted
    assert all(module.training for module in model.modules())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert all(p.grad is None for p in model.parameters())


def test_running_statistics_and_random_state_are_untouched():
    model = net().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.random.get_rng_state()
    x, y = data()
    capture(model, [(x, y)])
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_value_that_is_not_finite_names_site_sample_and_node():
    x, y = data()
    model = net()
    with torch.no_grad():
        model.bn.bias[2] = float("nan")
    with pytest.raises(CaptureError) as error:
        capture(model, [(x, y)], (Moments(),))
    assert str(error.value) == (
        "the activation at head (input) is not finite: nodes 2, samples 0, 1, 2, 3, 4 and 18 more; "
        "look at these samples, or run the model in float32"
    )


def test_no_batch_is_an_error():
    with pytest.raises(DataError, match="no calibration batch came"):
        capture(net(), [], (Moments(),))


def test_a_site_that_never_fires_is_left_out():
    class Branch(Net):
        def forward(self, x):
            return super().forward(x) if x.shape[0] == 2 else self.conv(x).mean((2, 3))[:, :3]

    x, y = data()
    found = capture(Branch().double(), [(x, y)], (Moments(),))
    assert found.lost["conv:channels"] == {
        Moments(): "head was called less often in batch 1 than on the example, and what is read "
        "elsewhere there would be left out; give batches on which the model takes the same path"
    }
    assert "conv:channels" not in found.states


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.embed = nn.Embedding(11, 6)
        self.up = nn.Linear(6, 8)
        self.down = nn.Linear(8, 6)
        self.head = nn.Linear(6, 11)

    def forward(self, input_ids, attention_mask):
        x = self.embed(input_ids)
        return self.head(x + self.down(F.gelu(self.up(x))))


def tokens(lengths, width, left=False):
    g = torch.Generator().manual_seed(4)
    ids, mask = torch.zeros(len(lengths), width, dtype=torch.long), torch.zeros(len(lengths), width)
    for row, length in enumerate(lengths):
        place = slice(width - length, width) if left else slice(0, length)
        ids[row, place] = torch.randint(0, 11, (length,), generator=g)
        mask[row, place] = 1
    return {"input_ids": ids, "attention_mask": mask.long(), "labels": ids.clone()}


STREAMED = (Moments(), Magnitudes(), RowMoments(), GradientMoments(), RowGradients(), Gram())


@pytest.mark.parametrize(("width", "left"), [(9, False), (9, True), (5, True)])
def test_padding_changes_nothing(width, left):
    model = Tokens().double()
    lengths = [5, 2, 4]

    def run(batch):
        plan_batch = {k: v for k, v in batch.items() if k != "labels"}
        graph = infer(model, **plan_batch)
        entry = PlanEntry(graph["up:neurons"], STREAMED)
        request = CaptureRequest(model, graph, [batch], CapturePlan((entry,), folds=4), CPU)
        return run_capture(request).states["up:neurons"]

    one, other = run(tokens(lengths, 5)), run(tokens(lengths, width, left))
    for statistic in STREAMED:
        left_summary = statistic.summary(one[statistic], KEEP)
        right_summary = statistic.summary(other[statistic], KEEP)
        found = tensors_of(right_summary)
        for name, expected in tensors_of(left_summary).items():
            assert torch.allclose(expected, found[name], rtol=1e-10, atol=1e-13), (statistic, name)


def test_the_loss_is_summed_over_positions():
    logits = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[1, 2, -100], [0, 4, 3]])
    mask = torch.tensor([[True, True, True], [True, False, True]])
    losses = row_losses(logits, Batch((logits,), targets=targets, mask=mask))
    nll = -logits.log_softmax(-1)
    expected = torch.stack([nll[0, 0, 1] + nll[0, 1, 2], nll[1, 0, 0] + nll[1, 2, 3]])
    assert torch.allclose(losses, expected)


def test_nothing_of_an_activation_outlives_its_batch():
    import gc
    import weakref

    alive: list[weakref.ref] = []

    class Watching(Net):
        def forward(self, x):
            hidden = self.act(self.bn(self.conv(x)))
            alive.append(weakref.ref(hidden))
            return self.head(hidden.flatten(1))

    x, y = data(12)
    capture(Watching().double(), chunks(x, y, [4, 4, 4]))
    gc.collect()
    assert [ref() for ref in alive] == [None] * len(alive)


class TwoReaders(nn.Module):
    """One group that is read twice, once before and once after something was added to it."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.a, self.b, self.head = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x, gate=1.0):
        x = self.a(x)
        x = x + self.b(torch.tanh(x) * gate)
        return self.head(x * gate)


def test_a_row_of_a_group_that_is_read_at_several_sites_is_one_row():
    """Q_n is the gradient of row n's loss at one gate on the node, wherever it is read."""
    model = TwoReaders().double()
    x = torch.randn(9, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    y = torch.arange(9) % 3
    got = capture(model, [(x[:5], y[:5]), (x[5:], y[5:])], (RowGradients(),), x[:2], "a:residual")
    summary = RowGradients().summary(got.states["a:residual"][RowGradients()], KEEP)
    gradients = []
    for row in range(9):
        gate = torch.ones(6, dtype=torch.float64, requires_grad=True)
        loss = F.cross_entropy(model(x[row : row + 1], gate), y[row : row + 1])
        gradients.append(torch.autograd.grad(loss, gate)[0])
    gated = torch.stack(gradients)
    assert torch.allclose(summary.q2, gated.square().mean(0), rtol=1e-10)
    assert torch.allclose(summary.q, gated.mean(0), rtol=1e-10)
    assert summary.rows == 9

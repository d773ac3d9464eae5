"""Models that do unusual things while they are read, and are left as they were."""

from __future__ import annotations

import gc
import random
import weakref

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from nodelens.capture.batches import Batch
from nodelens.errors import CaptureError, DataError, ModelError
from nodelens.statistics.gradients import GradientMoments, RowGradients
from nodelens.statistics.gram import Gram
from nodelens.statistics.magnitudes import Magnitudes
from nodelens.statistics.moments import Moments, RowMoments

VALUES = (Moments(), Magnitudes(), RowMoments(), Gram())
GRADIENTS = (GradientMoments(), RowGradients())
SAMPLED = (GradientMoments(labels="model"), RowGradients(labels="model"))


def data(rows=9, width=4, dtype=torch.float64):
    g = torch.Generator().manual_seed(5)
    x = torch.randn(rows, width, dtype=torch.float64, generator=g).to(dtype)
    return x, torch.arange(rows) % 3


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x):
        return self.c(self.part(x))

    def part(self, x):
        return F.relu(self.b(torch.tanh(self.a(x))))


def of(kind, *arguments):
    torch.manual_seed(0)
    return kind(*arguments).double()


class Checkpointed(Net):
    def __init__(self, reentrant):
        super().__init__()
        self.reentrant = reentrant

    def forward(self, x):
        if not torch.is_grad_enabled():
            return super().forward(x)
        return self.c(checkpoint(self.part, x, use_reentrant=self.reentrant))


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("asked", [GRADIENTS, SAMPLED, (*GRADIENTS, *SAMPLED, *VALUES)])
def test_recomputation_does_not_count_twice_and_gradients_are_the_same(
    reentrant, asked, capture_of, check_same
):
    one = capture_of(of(Net), [data()], asked)
    other = capture_of(of(Checkpointed, reentrant), [data()], asked, data())
    check_same(other, one)
    assert other.fired == one.fired == dict.fromkeys(one.fired, 1)


class SharedInCheckpoint(Net):
    def __init__(self, reentrant):
        super().__init__()
        self.d, self.reentrant = nn.Linear(6, 6), reentrant

    def forward(self, x):
        def part(x):
            return torch.tanh(self.d(torch.tanh(self.d(x))))

        x = torch.tanh(self.a(x))
        x = (
            checkpoint(part, x, use_reentrant=self.reentrant)
            if torch.is_grad_enabled()
            else part(x)
        )
        return self.c(F.relu(self.b(x)))


def test_several_calls_of_a_module_in_a_reentrant_checkpoint_are_left_out(capture_of, lost):
    found = capture_of(of(SharedInCheckpoint, True), [data()], GRADIENTS)
    assert any("use_reentrant=False" in reason for reason in lost(found).values())
    assert not lost(capture_of(of(SharedInCheckpoint, False), [data()], GRADIENTS))


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.again, self.head = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        x = torch.relu(self.a(x))
        return self.head(torch.tanh(self.again(torch.tanh(self.again(x)))))


def test_every_call_of_a_shared_module_is_read_once(capture_of):
    x, y = data()
    model = of(Shared)
    got = capture_of(model, [(x[:5], y[:5]), (x[5:], y[5:])], VALUES + GRADIENTS)
    assert set(got.fired.values()) == {4} or min(got.fired.values()) >= 2
    for entry in got.plan.entries:
        counts = got.states[entry.name][Moments()]["count"]
        assert counts.sum() == 9 * len(entry.group.at("activation"))


class InPlace(Net):
    """Changes its input, an embedding of it, and what its layers return."""

    def __init__(self, inplace):
        super().__init__()
        self.inplace = inplace

    def forward(self, x):
        x = x.mul_(2.0) if self.inplace else x * 2.0
        a = self.a(x)
        a = a.tanh_() if self.inplace else a.tanh()
        b = self.b(a)
        return self.c(F.relu(b, inplace=self.inplace))


def test_operations_in_place_change_nothing_also_not_the_batch(capture_of, check_same):
    x, y = data()
    asked = (*VALUES, *GRADIENTS, Moments(reads="preactivation"), Gram(reads="input"))
    one = capture_of(of(InPlace, False), [(x, y)], asked)
    other = capture_of(of(InPlace, True), [(x.clone(), y)], asked)
    check_same(other, one)
    kept = x.clone()
    capture_of(of(InPlace, True), [(kept, y)], GRADIENTS, (x.clone(), y))
    assert torch.equal(kept, x)


class Positions(nn.Module):
    """Adds positions to its embedding in place, as GPT implementations do."""

    def __init__(self):
        super().__init__()
        self.embed, self.at = nn.Embedding(7, 4), nn.Parameter(torch.randn(3, 4))
        self.up, self.head = nn.Linear(4, 5), nn.Linear(5, 7)

    def forward(self, ids):
        x = self.embed(ids)
        x += self.at
        return self.head(torch.relu(self.up(x)))


def test_positions_may_be_added_to_an_embedding_in_place(capture_of, summary):
    ids = torch.tensor([[0, 3, 6], [1, 1, 2]])
    model = of(Positions)
    got = capture_of(model, [(ids, ids)], (GradientMoments(),))
    a = torch.relu(model.up(model.embed(ids) + model.at)).detach().requires_grad_()
    loss = F.cross_entropy(model.head(a).flatten(0, 1), ids.flatten(), reduction="sum")
    (g,) = torch.autograd.grad(loss, a)
    found = summary(got, "up:neurons", GradientMoments())
    assert torch.allclose(found.q2, (a * g).square().mean((0, 1)), rtol=1e-10)


class SometimesInPlace(Net):
    def forward(self, x):
        a = torch.tanh(self.a(x))
        b = self.b(a)
        if len(x) > 3:
            a.mul_(2.0)
        return self.c(torch.sigmoid(b))


def test_a_tensor_that_is_overwritten_only_later_on_is_noticed(capture_of, lost):
    x, y = data()
    found = capture_of(of(SometimesInPlace), [(x, y)], GRADIENTS, (x[:2], y[:2]))
    assert "b (input) was overwritten in place later on, which" in lost(found)["a:neurons"]


@pytest.mark.parametrize("how", ["wrapper", "method", "inside"])
def test_compiled_modules_are_refused(how, capture_of):
    model = of(Net)
    if how == "method":
        model.compile(backend="eager")
    if how == "inside":
        model.b.compile(backend="eager")
    given = torch.compile(model, backend="eager") if how == "wrapper" else model
    from nodelens.capture.hooks.site_hooks import check_hookable

    with pytest.raises(ModelError, match="compiled, and hooks on compiled modules may silently"):
        check_hookable(given)


class CompiledInside(Net):
    """Calls a function of its own that is compiled."""

    def __init__(self):
        super().__init__()
        self.fast = torch.compile(self.part, backend="eager")

    def forward(self, x):
        return self.c(self.fast(x))


def test_functions_compiled_inside_a_model_are_read_too(capture_of, check_same):
    expected = capture_of(of(Net), [data()], VALUES + GRADIENTS)
    model = of(CompiledInside)
    with torch.no_grad():
        model(data()[0])  # what is compiled here has no hooks in it
    check_same(capture_of(model, [data()], VALUES + GRADIENTS), expected)


def test_wrappers_that_hide_the_model_are_refused():
    from nodelens.capture.hooks.site_hooks import check_hookable

    with pytest.raises(ModelError, match="the model is wrapped in DataParallel, which runs copies"):
        check_hookable(nn.DataParallel(of(Net)))
    for name, reason in {
        "DistributedDataParallel": r"is for training; give its \.module",
        "FullyShardedDataParallel": "holds pieces of the weights",
    }.items():
        wrapper = type(name, (nn.Sequential,), {"__module__": "torch.nn.parallel"})
        with pytest.raises(ModelError, match=f"0 is wrapped in {name}, which {reason}"):
            check_hookable(nn.Sequential(wrapper(of(Net))))


def test_a_class_of_the_user_with_such_a_name_is_not_refused():
    from nodelens.capture.hooks.site_hooks import check_hookable

    check_hookable(type("DataParallel", (Net,), {})())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_squares_of_half_precision_are_not_squares_in_half_precision(dtype, capture_of, summary):
    class Large(Net):
        def part(self, x):
            return 300 * F.relu(self.b(torch.tanh(self.a(x))) + 3)

    model, (x, y) = Large().to(dtype), data(dtype=dtype)
    got = capture_of(model, [(x, y)], VALUES)
    with torch.no_grad():
        a = model.part(x).double()
    assert float(a.square().max()) > torch.finfo(torch.float16).max
    found = summary(got, "b:neurons", Moments())
    assert found.mean.dtype == torch.float64
    assert torch.allclose(found.variance, a.var(0, correction=0), rtol=1e-9)
    gram = summary(got, "b:neurons", Gram())
    assert torch.allclose(gram.covariance, torch.cov(a.T, correction=0), rtol=1e-5, atol=1.0)


def test_products_are_not_taken_in_half_precision_in_regions_of_autocast(capture_of, summary):
    class Autocast(Net):
        def forward(self, x):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                hidden = F.relu(self.b(torch.tanh(self.a(x))).float() + 1000)
                return self.c(hidden).float()

    torch.manual_seed(0)
    model, (x, y) = Autocast(), data(dtype=torch.float32)
    seen = []
    model.c.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach().double()))
    got = capture_of(model, [(x, y)], (Gram(), Gram(of="gradient")))
    a = seen[-1]
    gram = summary(got, "b:neurons", Gram())
    expected = torch.cov(a.T, correction=0)
    assert torch.allclose(gram.covariance, expected, rtol=1e-3, atol=1e-3 * expected.max())


class Random(Net):
    """Draws from the global generator although it is in evaluation mode, and may raise."""

    def forward(self, x):
        if len(x) == 7:
            raise RuntimeError("on purpose")
        return super().forward(x + torch.randn(4, dtype=x.dtype))


@pytest.mark.parametrize("rows", [5, 7])
def test_everything_global_is_restored_also_when_the_model_raises(rows, capture_of):
    model = of(Random).train()
    x, y = data(12)
    state = torch.random.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    batches = [(x[:2], y[:2]), (x[2 : 2 + rows], y[2 : 2 + rows])]
    try:
        capture_of(model, batches, VALUES + GRADIENTS)
    except ModelError as error:
        assert rows == 7
        assert "does not run on batch 2" in str(error)
        assert "RuntimeError: on purpose" in str(error)
    assert torch.equal(state[0], torch.random.get_rng_state())
    assert (random.getstate(), np.random.get_state()[1].tolist()) == state[1:]
    assert all(module.training for module in model.modules())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert torch.is_grad_enabled()


def test_a_model_that_draws_gives_the_same_statistics_again(capture_of, check_same):
    results = [capture_of(of(Random), [data()], VALUES, seed=3) for _ in range(2)]
    check_same(results[1], results[0], rtol=0.0)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_what_a_model_draws_belongs_to_the_batch(capture_of, check_same, order):
    x, y = data(12)
    parts = [
        Batch((x[n : n + 4],), targets=y[n : n + 4], index=torch.arange(n, n + 4))
        for n in (0, 4, 8)
    ]
    expected = capture_of(of(Random), parts, VALUES + GRADIENTS, (x[:2], y[:2]))
    found = capture_of(of(Random), [parts[n] for n in order], VALUES + GRADIENTS, (x[:2], y[:2]))
    check_same(found, expected)


def test_inputs_made_in_inference_mode_are_taken(capture_of, check_same):
    expected = capture_of(of(Net), [data()], VALUES + GRADIENTS)
    with torch.inference_mode():
        x, y = data()
    check_same(capture_of(of(Net), [(x, y)], VALUES + GRADIENTS, data()), expected)
    model = of(Net)
    with torch.inference_mode():
        found = capture_of(model, [data()], VALUES + GRADIENTS, data())
    check_same(found, expected)


def test_weights_made_in_inference_mode_have_no_gradients(capture_of):
    with torch.inference_mode():
        model = of(Net)
    capture_of(model, [data()], VALUES)
    with pytest.raises(ModelError, match=r"the model's weights were made in torch\.inference"):
        capture_of(model, [data()], GRADIENTS)


def test_empty_batches_are_left_out_and_single_rows_count(capture_of, check_same):
    x, y = data()
    one = capture_of(of(Net), [(x, y)], VALUES + GRADIENTS)
    parts = [(x[:0], y[:0]), (x[:8], y[:8]), (x[8:8], y[8:8]), (x[8:], y[8:]), (x[:0], y[:0])]
    other = capture_of(of(Net), parts, VALUES + GRADIENTS, (x, y))
    check_same(other, one)
    assert other.samples == 9
    rows = [(x[n : n + 1], y[n : n + 1]) for n in range(9)]
    check_same(capture_of(of(Net), rows, VALUES + GRADIENTS, (x, y)), one)


def test_an_example_of_one_row_will_do(capture_of, check_same):
    x, y = data()
    expected = capture_of(of(Net), [(x, y)], VALUES + GRADIENTS)
    batches = [(x[:1], y[:1]), (x[1:], y[1:])]
    check_same(capture_of(of(Net), batches, VALUES + GRADIENTS), expected)


def test_a_loss_that_does_not_depend_on_a_site_gives_it_no_gradient(capture_of, lost):
    with pytest.raises(DataError, match="must return one summed loss per sample"):
        capture_of(of(Net), [data()], GRADIENTS, loss=lambda output, batch: output.sum())

    def of_input(output, batch):
        return batch.args[0].square().sum(1)

    found = capture_of(of(Net), [data()], VALUES + GRADIENTS, loss=of_input)
    reason = "b (input): it got no gradient, the loss does not depend on it"
    assert reason in lost(found)["a:neurons"]
    assert set(found.states["a:neurons"]) == set(VALUES)

    def detached(output, batch):
        return output.detach().square().sum(1)

    found = capture_of(of(Net), [data()], VALUES + GRADIENTS, loss=detached)
    assert "the loss has no gradient (detached, or under no_grad)" in lost(found)["a:neurons"]


def test_a_model_that_detaches_its_input_has_gradients_after_that(capture_of, check_same):
    class Detached(Net):
        def forward(self, x):
            with torch.no_grad():
                a = torch.tanh(self.a(x))
            return self.c(F.relu(self.b(a)))

    expected = capture_of(of(Net), [data()], VALUES + GRADIENTS)
    check_same(capture_of(of(Detached), [data()], VALUES + GRADIENTS), expected)


@pytest.mark.parametrize("where", ["activation", "gradient"])
def test_what_is_not_finite_is_named(where, capture_of):
    x, y = data()

    class Broken(Net):
        def forward(self, x):
            out = super().forward(x)
            return out if where == "activation" else Break.apply(out)

    if where == "activation":
        x[6, 2] = torch.nan
    model = of(Broken)
    with pytest.raises(CaptureError) as error:
        capture_of(model, [(x[:4], y[:4]), (x[4:], y[4:])], (Moments(), GradientMoments()))
    assert f"the {where} at " in str(error.value)
    assert "is not finite: nodes " in str(error.value)
    assert ("samples 6;" if where == "activation" else "samples 0, 1, 2, 3;") in str(error.value)


def test_what_is_not_finite_in_the_first_batch_is_named_and_nothing_else(capture_of):
    x, y = data()
    x[6, 2] = torch.nan
    with pytest.raises(CaptureError, match=r"is not finite: nodes .*, samples 6; look at these"):
        capture_of(of(Net), [(x, y)], (Moments(), Gram()), data())


def test_data_without_a_single_label_are_refused(capture_of):
    x, y = data()
    some = torch.full_like(y, -100)
    some[4] = 1
    capture_of(of(Net), [(x, some)], GRADIENTS)
    with pytest.raises(DataError, match=r"no sample has a label \(all are -100 or padd"):
        capture_of(of(Net), [(x, torch.full_like(y, -100))], GRADIENTS)


class Break(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return torch.full_like(gradient, torch.nan)


def test_live_tensors_do_not_grow_with_the_number_of_batches(capture_of):
    alive: list[weakref.ref] = []
    counts = []

    class Watching(Net):
        def forward(self, x):
            hidden = self.part(x)
            alive.append(weakref.ref(hidden))
            return self.c(hidden)

    def batches(number):
        for n in range(number):
            if n:
                gc.collect()
                counts.append(
                    sum(issubclass(type(each), torch.Tensor) for each in gc.get_objects())
                )
            yield data()

    asked = (*VALUES, *GRADIENTS, *SAMPLED, Gram(reads="input"))

    class Stream:
        def __iter__(self):
            return batches(12)

    capture_of(of(Watching), Stream(), asked, data())
    gc.collect()
    assert [ref() for ref in alive] == [None] * len(alive)
    assert max(counts[1:]) <= counts[1] + 2, counts


def test_a_batch_with_arguments_of_any_kind_reaches_the_model(capture_of, check_same):
    class Optional(Net):
        def forward(self, x, scale=None, names=()):
            return super().forward(x if scale is None else x * scale)

    x, y = data()
    expected = capture_of(of(Net), [(x, y)], VALUES)
    batch = Batch((x / 2,), {"scale": 2.0, "names": ("a", "b")}, targets=y)
    check_same(capture_of(of(Optional), [batch], VALUES), expected)

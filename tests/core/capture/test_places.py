"""Statistics of pairs, blocks, weights and targets, against what stored activations give."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nodelens.capture.batches import Batch
from nodelens.capture.engine import run_capture
from nodelens.capture.losses import output_numbers
from nodelens.capture.plan.planning import make_plan
from nodelens.capture.request import CaptureRequest
from nodelens.channels.infer import infer
from nodelens.statistics.block_change import BlockSimilarity
from nodelens.statistics.bootstrap import Bootstrap
from nodelens.statistics.maps import MapRanks, NuclearNorms
from nodelens.statistics.moments import Moments, RowMoments
from nodelens.statistics.pairs import CrossGram
from nodelens.statistics.reservoir import Reservoir
from nodelens.statistics.sketch import GramSketch
from nodelens.statistics.targets import TargetMoments
from nodelens.statistics.weight_gradients import WeightGradients

CPU = torch.device("cpu")
KEEP = torch.ones(4, dtype=torch.bool)


class Wants:
    def __init__(self, *statistics):
        self.statistics = statistics


class Residual(nn.Module):
    """A convolution, two blocks that may go on in place, and a classifier of pooled maps."""

    def __init__(self, inplace=False):
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.blocks = nn.Sequential(Block(inplace), Block(inplace))
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


class Block(nn.Module):
    def __init__(self, inplace):
        super().__init__()
        self.inplace = inplace
        self.first = nn.Conv2d(4, 5, 3, padding=1)
        self.second = nn.Conv2d(5, 4, 1)

    def forward(self, x):
        y = self.second(self.first(x).relu_())
        return x.add_(y) if self.inplace else x + y


class Tokens(nn.Module):
    """Two layers on every token, and a prediction for each."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.up = nn.Linear(6, 8)
        self.middle = nn.Linear(8, 7)
        self.head = nn.Linear(7, 11)

    def forward(self, ids):
        return self.head(self.middle(self.up(self.embed(ids)).relu()).relu())


def images(rows=11):
    random = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 1, 5, 5, dtype=torch.float64, generator=random)
    return x, torch.randint(0, 3, (rows,), generator=random)


def tokens(rows=9, length=6):
    random = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 11, (rows, length), generator=random)
    targets = torch.randint(0, 11, (rows, length), generator=random)
    targets[:, 0] = -100
    mask = torch.arange(length) < torch.randint(2, length + 1, (rows, 1), generator=random)
    return ids, targets.masked_fill(~mask, -100), mask


def model_of(kind, **options):
    torch.manual_seed(1)
    return kind(**options).double().eval()


def capture(model, example, batches, *statistics):
    graph = infer(model, example)
    plan = make_plan(graph, [Wants(*statistics)], folds=4, model=model)
    return graph, run_capture(CaptureRequest(model, graph, batches, plan, CPU))


def of_images(*statistics, **options):
    (x, y), model = images(), model_of(Residual, **options)
    batches = list(zip(x.split(4), y.split(4), strict=True))
    return model, capture(model, x[:2], batches, *statistics)[1]


def of_tokens(*statistics):
    (ids, targets, mask), model = tokens(), model_of(Tokens)
    parts = zip(ids.split(4), targets.split(4), mask.split(4), strict=True)
    batches = [
        Batch((part,), targets=labels, mask=counts, first=4 * number)
        for number, (part, labels, counts) in enumerate(parts)
    ]
    return model, capture(model, ids[:2], batches, *statistics)[1]


def read(module, model, *inputs, end="input"):
    """Return what a module reads or returns, copied on the way, and the model's output."""
    kept = []
    hooks = (
        module.register_forward_pre_hook(lambda _, args: kept.append(args[0].clone()))
        if end == "input"
        else module.register_forward_hook(lambda _, args, out: kept.append(out.clone()))
    )
    output = model(*inputs)
    hooks.remove()
    return kept[0].detach(), output.detach()


@pytest.mark.parametrize("inplace", [False, True])
def test_a_block_is_compared_with_what_it_read_also_when_it_goes_on_in_place(inplace):
    model, found = of_images(BlockSimilarity(), inplace=inplace)
    x, _ = images()
    for number in (0, 1):
        block = model.blocks[number]
        before, after = (read(block, model, x, end=end)[0] for end in ("input", "output"))
        state = found.states[f"blocks.{number} (block)"][BlockSimilarity()]
        summary = BlockSimilarity().summary(state, KEEP)
        cosine = F.cosine_similarity(before, after, dim=1).mean()
        torch.testing.assert_close(summary.cosine, cosine)
        torch.testing.assert_close(summary.change, (after - before).square().sum(1).mean())
        assert summary.count == 11 * 25


def test_groups_with_the_same_positions_are_paired_by_position():
    model, found = of_tokens(CrossGram())
    ids, _, mask = tokens()
    up, middle = (read(module, model, ids)[0][mask] for module in (model.middle, model.head))
    state = found.states["up:neurons (pair)"][CrossGram()]
    summary = CrossGram().summary(state, KEEP)
    expected = (up - up.mean(0)).T @ (middle - middle.mean(0)) / len(up)
    torch.testing.assert_close(summary.covariance, expected)
    assert summary.count == mask.sum()


def test_groups_with_other_positions_are_paired_by_row():
    class Pooled(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.mix = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 5, 1)
            self.fc, self.head = nn.Linear(5, 6), nn.Linear(6, 3)

        def forward(self, x):
            maps = self.mix(self.conv(x).relu()).relu()
            return self.head(self.fc(maps.mean((2, 3))).relu())

    model, (x, y) = model_of(Pooled), images()
    _, found = capture(model, x[:2], [(x, y)], CrossGram())
    mixed, hidden = read(model.fc, model, x)[0], read(model.head, model, x)[0]
    state = found.states["mix:channels (pair)"][CrossGram()]
    summary = CrossGram().summary(state, KEEP)
    expected = (mixed - mixed.mean(0)).T @ (hidden - hidden.mean(0)) / len(mixed)
    torch.testing.assert_close(summary.covariance, expected)
    assert summary.count == len(x)


@pytest.mark.parametrize("of", ["value", "gate"])
def test_an_image_has_one_target_and_its_row(of):
    statistic = TargetMoments(of=of)
    model, found = of_images(statistic)
    x, y = images()
    a, output = read(model.blocks[0].second, model, x)
    if of == "gate":
        a = a.requires_grad_()
        hook = model.blocks[0].second.register_forward_pre_hook(lambda _, args: (a,))
        (g,) = torch.autograd.grad(F.cross_entropy(model(x), y, reduction="sum"), a)
        hook.remove()
        samples = (a * g).sum((2, 3)).detach()
    else:
        samples = a.mean((2, 3))
    tau = output_numbers(output, Batch((x,), targets=y))[:, 0]
    summary = statistic.summary(found.states["blocks.0.first:channels"][statistic], KEEP)
    joint = torch.cov(torch.cat([tau, samples], 1).T, correction=0)
    torch.testing.assert_close(summary.covariance, joint[:3, 3:])
    torch.testing.assert_close(summary.target_variance, joint.diagonal()[:3])


@pytest.mark.parametrize("of", ["value", "gate"])
def test_a_token_has_a_target_of_its_own_if_it_is_labelled(of):
    statistic = TargetMoments(of=of)
    model, found = of_tokens(statistic)
    ids, targets, _ = tokens()
    a, output = read(model.middle, model, ids)
    if of == "gate":
        a = a.requires_grad_()
        logits = model.head(model.middle(a).relu())
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")
        (g,) = torch.autograd.grad(loss, a)
        a = (a * g).detach()
    counted = targets != -100
    tau = output_numbers(output, Batch((ids,), targets=targets))[counted]
    summary = statistic.summary(found.states["up:neurons"][statistic], KEEP)
    joint = torch.cov(torch.cat([tau, a[counted]], 1).T, correction=0)
    torch.testing.assert_close(summary.covariance, joint[:3, 3:])
    assert summary.count == counted.sum()


def test_gradients_of_a_weight_are_those_of_autograd_row_by_row():
    model, found = of_images(WeightGradients())
    x, y = images()
    weight = model.blocks[1].first.weight
    rows = []
    for image, label in zip(x, y, strict=True):
        loss = F.cross_entropy(model(image.unsqueeze(0)), label.unsqueeze(0))
        rows.append(torch.autograd.grad(loss, weight)[0].flatten(1))
    expected = torch.stack(rows)
    state = found.states["blocks.1.first (weight)"][WeightGradients()]
    summary = WeightGradients().summary(state, KEEP)
    torch.testing.assert_close(summary.mean, expected.mean(0))
    torch.testing.assert_close(summary.mean_square, expected.square().mean(0))


def test_maps_are_those_of_the_images():
    model, found = of_images(MapRanks(), NuclearNorms())
    maps = read(model.blocks[0].second, model, images()[0])[0]
    states = found.states["blocks.0.first:channels"]
    ranks = MapRanks().summary(states[MapRanks()], KEEP)
    torch.testing.assert_close(ranks.mean, torch.linalg.matrix_rank(maps).double().mean(0))
    norms = NuclearNorms().summary(states[NuclearNorms()], KEEP)
    whole = torch.linalg.matrix_norm(maps.flatten(2), "nuc")
    for node in range(5):
        without = maps.flatten(2).clone()
        without[:, node] = 0.0
        rest = torch.linalg.matrix_norm(without, "nuc")
        torch.testing.assert_close(norms.mean[node], (whole - rest).mean())


def test_a_reservoir_holds_the_same_tokens_at_every_site():
    statistic = Reservoir(size=16)
    _, found = of_tokens(statistic)
    up, middle = (
        statistic.summary(found.states[name][statistic], KEEP)
        for name in ("up:neurons", "middle:neurons")
    )
    assert torch.equal(up.index, middle.index)
    assert torch.equal(up.position, middle.position)
    assert tokens()[2][up.index.long(), up.position.long()].all()


def test_the_sites_of_a_residual_stream_are_sketched_with_signs_of_their_own():
    statistic = GramSketch(rank=65536)
    model, found = of_images(statistic)
    x, _ = images()
    read_by = [
        read(module, model, x)[0] for module in (model.blocks[0].first, model.blocks[1].first)
    ]
    read_by.append(read(model.head, model, x)[0][..., None, None])
    samples = torch.cat([each.movedim(1, -1).flatten(0, -2) for each in read_by])
    summary = statistic.summary(found.states["stem:channels"][statistic], KEEP)
    exact = torch.cov(samples.T, correction=0)
    torch.testing.assert_close(summary.covariance, exact, rtol=0.0, atol=0.02 * float(exact.max()))


def test_rows_are_drawn_alike_at_all_sites_of_a_group():
    statistic = Bootstrap(RowMoments(), 3)
    _, found = of_images(statistic, Bootstrap(Moments(), 3))
    states = found.states["stem:channels"]
    rows = states[statistic]["rows"].sum(0)
    positions = states[Bootstrap(Moments(), 3)]["count"].sum(0)
    torch.testing.assert_close(positions, rows * (25 + 25 + 1))

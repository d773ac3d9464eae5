import pytest
import torch
from torch import nn
from torch.nn import functional as F

import nodelens
from nodelens.errors import NotApplicableError
from nodelens_metrics.weighted_activations.channels import RIA, DaSS, WandaChannel
from nodelens_metrics.weighted_activations.contributions import FlapWIFV


def rms(values, *axes):
    return values.double().square().mean(axes).sqrt()


@pytest.fixture
def parts():
    random = torch.Generator().manual_seed(4)

    def normal(*shape):
        return torch.randn(*shape, generator=random).double()

    return {"inputs": normal(20, 3, 5), "w": normal(4, 5), "v": normal(6, 4)}


def published_ria(weight, norms, power=0.5):
    """Relative importance of single weights ``(outputs, inputs)``, times the input norm."""
    size = weight.abs()
    relative = size / size.sum(0) + size / size.sum(1).reshape(-1, 1)
    return relative * norms.reshape(1, -1) ** power


@pytest.mark.parametrize("power", [0.5, 1.0])
def test_ria_adds_the_published_scores_of_a_column(score, data, parts, power):
    expected = published_ria(parts["v"], rms(data, 0, 1), power).sum(0)
    found = score(RIA(power=power), data, v=parts["v"])
    torch.testing.assert_close(found, expected)


def test_ria_without_power_still_gives_dead_nodes_nothing(score, data, parts):
    dead = data.clone()
    dead[..., 1] = 0.0
    found = score(RIA(power=0.0), dead, v=parts["v"])
    assert found[1] == 0.0
    assert bool((found[[0, 2, 3]] > 1.0).all())


def test_ria_of_nodes_that_nothing_reads_is_zero(score, data):
    assert score(RIA(), data, v=torch.zeros(3, 4).double()).tolist() == [0.0] * 4


def test_dass_weighs_what_writes_a_node_by_the_node(score, data, parts):
    norm = rms(data, 0, 1)
    writes = parts["w"].abs() * norm.unsqueeze(1) ** 0.5
    reads = parts["v"].abs() * norm
    found = score(DaSS(), data, w=parts["w"], v=parts["v"])
    torch.testing.assert_close(found, writes.sum(1) + reads.sum(0))


def test_wanda_channel_adds_the_scores_of_both_matrices(score, data, parts):
    writes = parts["w"].abs() * rms(parts["inputs"], 0, 1)
    reads = parts["v"].abs() * rms(data, 0, 1)
    found = score(WandaChannel(), data, **parts)
    torch.testing.assert_close(found, writes.sum(1) + reads.sum(0))


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(3, 5)
        self.gate, self.up = nn.Linear(5, 7, bias=False), nn.Linear(5, 7, bias=False)
        self.down = nn.Linear(7, 2, bias=False)

    def hidden(self, x):
        return F.silu(self.gate(x)) * self.up(x)

    def forward(self, x):
        return self.down(self.hidden(self.stem(x)))


def test_gated_units_of_a_model():
    torch.manual_seed(0)
    model, x = Gated().double(), torch.randn(12, 4, 3).double()
    scores = nodelens.score(model, [x], [WandaChannel(), DaSS(), RIA()], folds=2)
    with torch.no_grad():
        read = model.stem(x)
        norm, input_norm = rms(model.hidden(read), 0, 1), rms(read, 0, 1)
        gate, up, down = (m.weight.abs() for m in (model.gate, model.up, model.down))
    wanda = ((gate + up) * input_norm).sum(1) + (down * norm).sum(0)
    dass = ((gate + up) * norm.unsqueeze(1) ** 0.5).sum(1) + (down * norm).sum(0)
    ria = published_ria(model.down.weight.detach(), norm).sum(0)
    for name, expected in (("WandaChannel", wanda), ("DaSS", dass), ("RIA", ria)):
        found = torch.from_numpy(scores[name, "gate:neurons"].values)
        torch.testing.assert_close(found, expected.detach())


@pytest.mark.parametrize("groups", [1, 2])
def test_convolutions_read_their_own_patches(groups):
    """A node of a grouped convolution is the channel at one place of every group."""
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=groups), nn.ReLU(), nn.Conv2d(6, 2, 3)
    ).double()
    x = torch.randn(10, 4, 9, 9).double()
    scores = nodelens.score(model, [x], [WandaChannel()], folds=2)
    patches = F.unfold(x, 3, padding=1, stride=2).double()
    features = rms(patches, 0, 2).view(groups, -1).repeat_interleave(6 // groups, dim=0)
    hidden = F.relu(model[0](x)).detach().unflatten(1, (groups, -1))
    first, second = (layer.weight.detach().abs() for layer in (model[0], model[2]))
    written = (first.flatten(1) * features).sum(1).view(groups, -1).sum(0)
    read = second.sum((0, 2, 3)).view(groups, -1)
    (found,) = scores.of("WandaChannel").values()
    expected = written + (read * rms(hidden, 0, 3, 4)).sum(0)
    torch.testing.assert_close(torch.from_numpy(found.values), expected)


@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
def test_relative_importance_of_grouped_convolutions(kind):
    """Every channel is read by the outputs of its own group; a node is a channel of each group."""
    torch.manual_seed(2)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 1), nn.ReLU(), kind(4, 6, 2, groups=2), nn.ReLU(), nn.Conv2d(6, 2, 1)
    ).double()
    x = torch.randn(8, 2, 5, 5).double()
    scores = nodelens.score(model, [x], [RIA()], folds=2)
    weight = model[2].weight.detach().unflatten(0, (2, -1))  # groups, then outputs or inputs
    if kind is nn.ConvTranspose2d:
        weight = weight.transpose(1, 2)
    ones = torch.ones(2 * 4, dtype=torch.float64)
    shares = [published_ria(block.flatten(1), ones).sum(0).view(2, -1).sum(1) for block in weight]
    norm = rms(F.relu(model[0](x)).detach().unflatten(1, (2, 2)), 0, 3, 4)
    found = torch.from_numpy(scores["RIA", "0:channels:2"].values)
    torch.testing.assert_close(found, (torch.stack(shares) * norm**0.5).sum(0))


def test_without_a_reader_there_is_a_reason(score):
    from nodelens.channels.groups import ChannelGroup
    from nodelens.scoring.view import GroupView

    view = GroupView(ChannelGroup("g", "nodes", 2), {}, {}, torch.ones(1, dtype=torch.bool))
    for metric in (RIA(), DaSS(), WandaChannel()):
        with pytest.raises(NotApplicableError):
            metric.score(view)


@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
def test_the_channels_of_a_grouped_convolution_are_weighed_by_their_own_readers(kind):
    torch.manual_seed(2)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 1), nn.ReLU(), kind(4, 6, 2, groups=2), nn.ReLU(), nn.Conv2d(6, 2, 1)
    ).double()
    x = torch.randn(8, 2, 5, 5).double()
    scores = nodelens.score(model, [x], [FlapWIFV()], folds=2)
    weight = model[2].weight.detach().unflatten(0, (2, -1)).square()
    read = weight.sum((1, 3, 4) if kind is nn.Conv2d else (2, 3, 4))
    variance = F.relu(model[0](x)).detach().unflatten(1, (2, 2)).var((0, 3, 4), correction=0)
    found = torch.from_numpy(scores["FlapWIFV", "0:channels:2"].values)
    torch.testing.assert_close(found, (read * variance).sum(0))

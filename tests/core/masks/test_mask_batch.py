"""Several keep sets in one forward: exactly what as many masked forwards give."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nodelens.channels.infer import infer
from nodelens.errors import ModelError
from nodelens.masks import mask, mask_batch, repeated


class Convolves(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.bn = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.left, self.right = nn.Conv2d(4, 5, 1), nn.Conv2d(4, 5, 1)
        self.head = nn.Linear(5 * 9, 3)

    def forward(self, x):
        x = F.relu(self.bn(self.stem(x)))
        return self.head((self.left(x) * self.right(x)).flatten(1))


class Attends(nn.Module):
    def __init__(self, batch_first=True):
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(11, 12)
        self.layer = nn.TransformerEncoderLayer(12, 3, 20, batch_first=batch_first)
        self.c = nn.Linear(12, 2)

    def forward(self, tokens):
        return self.c(self.layer(self.embed(tokens)))


class Flattens(nn.Module):
    """Reads samples × positions as one axis, and mixes positions by a raw weight."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 5)
        self.w = nn.Parameter(torch.randn(5, 7))
        self.c = nn.Linear(7, 2)

    def forward(self, x):
        h = F.relu(self.b(F.relu(self.a(x)).flatten(0, 1)))
        return self.c(F.relu(h @ self.w)).view(*x.shape[:2], 2)


class Last(nn.Module):
    def forward(self, x):
        return x[0]


class Roll(nn.Module):
    def forward(self, x):
        return x + x.roll(1, 0)


X = torch.randn(6, 1, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
TOKENS = torch.randint(0, 11, (6, 5), generator=torch.Generator().manual_seed(1))
FLAT = torch.randn(6, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
CASES = {"channels": (Convolves, X), "attention": (Attends, TOKENS), "raw": (Flattens, FLAT)}


def built(name):
    make, x = CASES[name]
    model = make().double().eval()
    return model, x, infer(model, x)


def keep_sets(graph):
    """Return keep sets of several groups, of one, of the first node's absence, and of none."""
    groups = [group for group in graph if any(s.point == "activation" for s in group.sites)]
    return [
        {group.name: list(range(1, group.width)) for group in groups},
        {groups[0].name: [0]},
        {groups[-1].name: torch.arange(groups[-1].width) % 2 == 0},
        {},
    ]


@pytest.mark.parametrize("replace", ["zero", "mean", "resample"])
@pytest.mark.parametrize("name", CASES)
def test_every_copy_is_its_own_masked_forward(name, replace):
    model, x, graph = built(name)
    keeps = keep_sets(graph)
    means = {group.name: torch.linspace(-1, 1, group.width, dtype=torch.float64) for group in graph}
    with torch.no_grad(), mask_batch(model, graph, keeps, replace, means, seed=2):
        together = model(repeated(x, len(keeps))).chunk(len(keeps))
    for keep, found in zip(keeps, together, strict=True):
        with torch.no_grad(), mask(model, graph, keep, replace, means, seed=2):
            assert torch.allclose(found, model(x), rtol=1e-13, atol=1e-13)
    assert not torch.allclose(together[0], together[3])


def test_a_batch_of_one_is_a_mask():
    model, x, graph = built("channels")
    keep = {"stem:channels": [0, 2]}
    with torch.no_grad(), mask_batch(model, graph, [keep]):
        found = model(x)
    with torch.no_grad(), mask(model, graph, keep):
        assert torch.equal(found, model(x))


def test_module_sites_can_be_masked_with_gradients():
    model, x, graph = built("channels")
    keeps = [{"stem:channels": [0]}, {"stem:channels": [1, 2, 3]}]
    with mask_batch(model, graph, keeps):
        model(repeated(x, 2)).chunk(2)[0].sum().backward()
    together = model.stem.weight.grad.clone()
    model.zero_grad()
    with mask(model, graph, keeps[0]):
        model(x).sum().backward()
    assert torch.allclose(together, model.stem.weight.grad)


def test_repeated_inputs_of_any_structure():
    inputs = {"x": torch.arange(2), "more": (torch.zeros(2, 3), "text")}
    copies = repeated(inputs, 3)
    assert copies["x"].tolist() == [0, 1, 0, 1, 0, 1]
    assert copies["more"][0].shape == (6, 3)
    assert copies["more"][1] == "text"


class Sums(Convolves):
    def forward(self, x):
        return super().forward(x) - x.mean(0).sum()


@pytest.mark.parametrize(
    ("make", "x", "where"),
    [
        (lambda: Attends(batch_first=False), TOKENS, "attended over in layer.self_attn"),
        (
            lambda: nn.Sequential(nn.LSTM(4, 5), Last(), nn.Linear(5, 2)),
            FLAT.float(),
            "taken apart",
        ),
        (lambda: nn.Sequential(nn.Linear(4, 6), nn.Conv1d(5, 6, 1), Roll()), FLAT.float(), "roll"),
        (Sums, X.float(), "averaged by mean in the model"),
    ],
)
def test_a_first_axis_that_is_mixed_is_refused(make, x, where):
    model = make().eval()
    graph = infer(model, x)
    assert where in graph.mixed
    with pytest.raises(ModelError, match="mixes the copies"), mask_batch(model, graph, [{}, {}]):
        pass


@pytest.mark.parametrize("change", ["train", "no statistics"])
def test_samples_mixed_by_batch_norm_are_refused(change):
    model, _, graph = built("channels")
    if change == "train":
        model.train()
    else:
        model.bn = nn.BatchNorm2d(4, track_running_stats=False).double()
    with (
        pytest.raises(ModelError, match="bn normalises over the batch, which mixes the copies"),
        mask_batch(model, graph, [{}, {}]),
    ):
        pass


def test_an_example_of_one_sample_does_not_tell_samples_apart():
    model, x, _ = built("raw")
    graph = infer(model, x[:1])
    with (
        pytest.raises(ModelError, match="the samples cannot be distinguished at"),
        mask_batch(model, graph, [{"a:neurons": [0]}, {"a:neurons": [1]}]),
    ):
        pass


def test_a_batch_that_is_not_repeated_is_refused():
    model, x, graph = built("raw")
    with (
        mask_batch(model, graph, [{}] * 4),
        pytest.raises(ModelError, match="reads 6 samples, which are not 4 copies of a batch"),
    ):
        model(x)


def test_no_keep_set_is_refused():
    model, _, graph = built("raw")
    with pytest.raises(ModelError, match="one keep set or more"), mask_batch(model, graph, []):
        pass

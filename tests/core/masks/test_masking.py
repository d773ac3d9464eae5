from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nodelens.channels.infer import infer
from nodelens.errors import ModelError
from nodelens.masks import mask


class Net(nn.Module):
    """BatchNorm after the masked layer, a residual sum, and two readers of one tensor."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.left = nn.Conv2d(4, 5, 1)
        self.right = nn.Conv2d(4, 5, 1)
        self.head = nn.Linear(5 * 9, 3)
        nn.init.normal_(self.bn.bias)

    def forward(self, x):
        x = F.relu(self.bn(self.stem(x)))
        return self.head((self.left(x) * self.right(x)).flatten(1))


@pytest.fixture
def model():
    return Net().double().eval()


X = torch.randn(6, 1, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def seen_by(module, run):
    inputs = []
    handle = module.register_forward_pre_hook(lambda m, args: inputs.append(args[0].clone()))
    try:
        run()
    finally:
        handle.remove()
    return inputs[0]


def test_every_consumer_reads_exactly_zero(model):
    graph = infer(model, X)
    for module in (model.left, model.right):
        with mask(model, graph, {"stem:channels": [0, 3]}):
            read = seen_by(module, lambda: model(X))
        assert torch.count_nonzero(read[:, [1, 2]]) == 0
        clean = seen_by(module, lambda: model(X))
        assert torch.equal(read[:, [0, 3]], clean[:, [0, 3]])


def test_zeroing_equals_zero_outgoing_weights(model):
    graph = infer(model, X)
    with mask(model, graph, {"stem:channels": [0, 3]}):
        masked = model(X)
    with torch.no_grad():
        for module in (model.left, model.right):
            module.weight[:, [1, 2]] = 0
    assert torch.allclose(masked, model(X), rtol=1e-12)


def test_flattened_nodes_are_whole_maps(model):
    graph = infer(model, X)
    name = next(g.name for g in graph if g.width == 5)
    with mask(model, graph, {name: [0, 1, 2, 4]}):
        read = seen_by(model.head, lambda: model(X))
    assert torch.count_nonzero(read.view(6, 5, 9)[:, 3]) == 0
    assert torch.count_nonzero(read.view(6, 5, 9)[:, 4]) == 6 * 9


def test_the_mean_is_what_consumers_read(model):
    graph = infer(model, X)
    means = {"stem:channels": torch.tensor([1.0, 2.0, 3.0, 4.0])}
    keep = torch.tensor([True, False, True, True])
    with mask(model, graph, {"stem:channels": keep}, replace="mean", means=means):
        read = seen_by(model.left, lambda: model(X))
    assert torch.equal(read[:, 1], torch.full((6, 3, 3), 2.0, dtype=torch.float64))


def test_several_groups_at_once_and_everything_undone(model):
    graph = infer(model, X)
    clean = model(X)
    keep = {group.name: [0] for group in graph if group.prunable}
    assert len(keep) == 2
    with mask(model, graph, keep):
        assert not torch.allclose(model(X), clean)
    assert torch.equal(model(X), clean)


def test_undone_when_the_body_raises(model):
    graph = infer(model, X)
    clean = model(X)
    with pytest.raises(ValueError, match="body"), mask(model, graph, {"stem:channels": []}):
        raise ValueError("body")
    assert torch.equal(model(X), clean)
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in model.modules())


@pytest.mark.parametrize(
    ("keep", "options", "message"),
    [
        ({"stem:channels": [4]}, {}, r"stem:channels: nodes run from 0 to 3, got \[4\]"),
        ({"stem:channels": torch.ones(3, dtype=torch.bool)}, {}, "a mask of 3 for 4 nodes"),
        ({"head:neurons": [0]}, {}, "head:neurons cannot be masked: model output"),
        ({"stem:channels": [0]}, {"replace": "mean"}, "needs the means of its nodes"),
    ],
)
def test_what_does_not_fit_is_refused(model, keep, options, message):
    graph = infer(model, X)
    with pytest.raises(ModelError, match=message), mask(model, graph, keep, **options):
        pass


def test_a_shared_module_is_masked_only_at_the_call_that_reads_the_group():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.a, self.pool = nn.Linear(4, 6), nn.Linear(6, 6)
            self.head = nn.Linear(6, 2)

        def forward(self, x):
            first = self.pool(F.relu(self.a(x)))
            return self.head(F.relu(self.pool(first)))

    model = Shared().double()
    x = torch.randn(3, 4, dtype=torch.float64)
    graph = infer(model, x)
    stream = graph["a:residual"]
    with mask(model, graph, {stream.name: [0, 1, 2]}):
        masked = model(x)
    hidden = F.relu(model.a(x)) * torch.tensor([1, 1, 1, 0, 0, 0])
    again = model.pool(hidden) * torch.tensor([1, 1, 1, 0, 0, 0])
    expected = model.head(F.relu(model.pool(again)) * torch.tensor([1, 1, 1, 0, 0, 0]))
    assert torch.allclose(masked, expected)


def test_resampled_nodes_come_from_another_row_and_the_same_one_at_every_site(model):
    graph = infer(model, X)
    clean = seen_by(model.left, lambda: model(X))
    reads = []
    for module in (model.left, model.right):
        with mask(model, graph, {"stem:channels": [0, 3]}, replace="resample", seed=4):
            reads.append(seen_by(module, lambda: model(X)))
    assert torch.equal(reads[0], reads[1])
    assert torch.equal(reads[0][:, [0, 3]], clean[:, [0, 3]])
    donors = [
        next(row for row in range(6) if torch.equal(read[[1, 2]], clean[row, [1, 2]]))
        for read in reads[0]
    ]
    assert sorted(donors) == list(range(6))
    assert donors != list(range(6))


def test_every_forward_resamples_anew_and_a_seed_fixes_all(model):
    graph = infer(model, X)

    def twice(seed):
        with mask(model, graph, {"stem:channels": [0]}, replace="resample", seed=seed):
            return model(X), model(X)

    first, second = twice(1)
    assert not torch.equal(first, second)
    assert all(map(torch.equal, twice(1), (first, second)))
    assert not torch.equal(twice(2)[0], first)

import pytest
import torch
from torch import nn

import nodelens
from nodelens.errors import NotApplicableError
from nodelens.scoring.view import GroupView, Network
from nodelens_metrics.norms import OutgoingL1
from nodelens_metrics.propagation import NISP


def nisp(model, *inputs):
    """Return a function from a group's name to its scores."""
    graph = nodelens.infer(model.eval(), *inputs)
    parameters = dict(model.named_parameters()) | dict(model.named_buffers())
    network = Network(graph=graph, modules=dict(model.named_modules()))
    keep = torch.ones(1, dtype=torch.bool)
    return lambda name: NISP().score(GroupView(graph[name], {}, parameters, keep, network))


def mass(layer):
    """Return |W| as ``(outputs, inputs)``, kernels summed."""
    weight = layer.weight.detach().double().abs()
    return weight.flatten(2).sum(2) if weight.ndim > 2 else weight


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(3)


def test_a_chain_multiplies_absolute_weights():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
    score = nisp(model, torch.randn(2, 3))
    last = mass(model[4]).sum(0)
    torch.testing.assert_close(score("2:neurons"), last)
    torch.testing.assert_close(score("0:neurons"), mass(model[2]).T @ last)


def test_the_last_hidden_layer_gets_its_outgoing_norm(score):
    v = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).double()
    data = torch.ones(2, 4)
    torch.testing.assert_close(score(NISP(), data, v=v), score(OutgoingL1(), data, v=v))


def test_kernels_and_flattened_maps_count_every_weight():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3), nn.Flatten(), nn.Linear(2 * 16, 5)
    )
    score = nisp(model, torch.randn(2, 3, 8, 8))
    last = mass(model[4]).sum(0).view(2, 16).sum(1)
    torch.testing.assert_close(score("2:channels"), last)
    torch.testing.assert_close(score("0:channels"), mass(model[2]).T @ last)


class Residual(nn.Module):
    """Two blocks on one stream: what a block writes is read by the later block and the head."""

    def __init__(self):
        super().__init__()
        self.stem, self.head = nn.Linear(3, 4), nn.Linear(4, 2)
        self.up = nn.ModuleList(nn.Linear(4, 6) for _ in range(2))
        self.down = nn.ModuleList(nn.Linear(6, 4) for _ in range(2))

    def forward(self, x):
        x = self.stem(x)
        for up, down in zip(self.up, self.down, strict=True):
            x = x + down(torch.relu(up(x)))
        return self.head(x)


def test_a_block_answers_for_all_that_reads_the_stream_after_it():
    model = Residual()
    score = nisp(model, torch.randn(2, 3))
    after = [None, None, mass(model.head).sum(0)]
    for block in (1, 0):
        hidden = mass(model.down[block]).T @ after[block + 1]
        torch.testing.assert_close(score(f"up.{block}:neurons"), hidden)
        after[block] = after[block + 1] + mass(model.up[block]).T @ hidden
    stream = next(g.name for g in nodelens.infer(model, torch.randn(2, 3)) if g.width == 4)
    torch.testing.assert_close(score(stream), after[0])


def test_the_scores_of_a_linear_net_bound_what_a_node_can_do_to_the_outputs():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
    score = nisp(model, torch.randn(2, 3))("0:neurons")
    hidden = torch.rand(50, 4)
    for node in range(4):
        without = hidden.clone()
        without[:, node] = 0.0
        change = (model[2:](hidden) - model[2:](without)).abs().sum(1)
        assert bool((change <= score[node] * hidden[:, node] + 1e-5).all())


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(4, 4) for _ in range(4))
        self.stem, self.head = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        x = self.stem(x)
        weights = (self.q(x) @ self.k(x).transpose(-2, -1)).softmax(-1)
        return self.head(x + self.o(weights @ self.v(x)))


def test_queries_and_keys_are_a_reason():
    model = Attention()
    score = nisp(model, torch.randn(2, 5, 3))
    names = [group.name for group in nodelens.infer(model, torch.randn(2, 5, 3)) if group.sites]
    with pytest.raises(NotApplicableError, match="no weight reads the nodes of"):
        score(names[0])


class Loop(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.again, self.head = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        x = self.stem(x)
        for _ in range(3):
            x = torch.relu(self.again(x))
        return self.head(x)


def test_a_weight_that_is_used_in_a_loop_counts_at_its_last_call():
    model = Loop()
    names = [group.name for group in nodelens.infer(model, torch.randn(2, 3)) if group.sites]
    last = mass(model.head).sum(0)
    expected = last + mass(model.again).T @ last
    torch.testing.assert_close(nisp(model, torch.randn(2, 3))(names[0]), expected)


def test_without_a_graph_there_is_a_reason(score):
    with pytest.raises(NotApplicableError, match="not known what follows"):
        NISP().score(GroupView(None, {}, {}, torch.ones(1, dtype=torch.bool)))

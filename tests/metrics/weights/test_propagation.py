import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

import nodelens
from nodelens.errors import NotApplicableError
from nodelens.scoring.view import GroupView, Network
from nodelens_metrics.weights.norms import OutgoingL1
from nodelens_metrics.weights.propagation import NISP
from nodelens_metrics.weights.responses import infinite_feature_selection


def nisp(model, *inputs):
    """Return a function from a group's name to its scores."""
    graph = nodelens.infer(model.eval(), *inputs)
    parameters = dict(model.named_parameters(remove_duplicate=False))
    parameters |= dict(model.named_buffers())
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


def dense(conv):
    """Return |W| of a grouped convolution, kernels summed, as a matrix with zeros."""
    blocks = mass(conv).unflatten(0, (conv.groups, -1))
    blocks = blocks.mT if isinstance(conv, nn.ConvTranspose2d) else blocks
    return torch.block_diag(*blocks)


def of_nodes(group, channels):
    """Return what belongs to the nodes of a group: a node is a channel of every block."""
    return channels[torch.tensor(group.role("producer")[0].extent.indices())].sum(1)


def test_channels_of_a_grouped_convolution_reach_their_own_outputs():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 6, 3, groups=2), nn.ReLU(), nn.Conv2d(6, 5, 1)
    )
    x = torch.randn(2, 3, 8, 8)
    score, groups = nisp(model, x), {group.name: group for group in nodelens.infer(model, x)}
    last = mass(model[4]).sum(0)
    torch.testing.assert_close(score("2:channels"), of_nodes(groups["2:channels"], last))
    first = dense(model[2]).T @ last
    torch.testing.assert_close(score("0:channels:2"), of_nodes(groups["0:channels:2"], first))


def test_the_nearest_reader_decides_what_a_weight_in_front_of_groups_gets():
    model = nn.Sequential(
        nn.Conv2d(2, 6, 1),
        nn.ReLU(),
        nn.ConvTranspose2d(6, 4, 2, stride=2),
        nn.ReLU(),
        nn.ConvTranspose2d(4, 4, 3, groups=2),
        nn.ReLU(),
        nn.Conv2d(4, 3, 1),
    )
    score = nisp(model, torch.randn(2, 2, 4, 4))
    last = mass(model[6]).sum(0)
    middle = dense(model[4]).T @ last
    torch.testing.assert_close(score("0:channels"), mass(model[2]) @ middle)


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


@pytest.mark.parametrize("tied", [False, True])
def test_a_llama_from_its_last_layer_to_its_first(tied):
    """Queries get what their head gets, keys and values share it over the heads that read them."""
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 8, "intermediate_size": 12, "num_attention_heads": 4}
    sizes |= {"num_hidden_layers": 2, "num_key_value_heads": 2, "vocab_size": 20}
    model = LlamaForCausalLM(LlamaConfig(tie_word_embeddings=tied, **sizes))
    score, after = nisp(model, torch.randint(20, (2, 5))), mass(model.lm_head).sum(0)
    for name, layer in reversed([*model.model.layers.named_children()]):
        mlp, attention = layer.mlp, layer.self_attn
        hidden = mass(mlp.down_proj).T @ after
        torch.testing.assert_close(score(f"model.layers.{name}.mlp:neurons"), hidden)
        after = after + (mass(mlp.gate_proj) + mass(mlp.up_proj)).T @ hidden
        heads = (mass(attention.o_proj).T @ after).view(2, 4)
        found = score(f"model.layers.{name}.self_attn:kv_groups")
        torch.testing.assert_close(found, heads.sum(1))
        shared = (heads.sum(1, keepdim=True).expand(2, 2) / 2).flatten()
        after = after + mass(attention.q_proj).T @ heads.flatten()
        after = after + (mass(attention.k_proj) + mass(attention.v_proj)).T @ shared
    torch.testing.assert_close(score("model.embed_tokens:residual"), after)


def infinite(a):
    """Infinite feature selection as its authors' code has it, with scipy's rank correlation."""
    spread = np.maximum.outer(a.std(0), a.std(0))
    spread = (spread - spread.min()) / (spread.max() - spread.min())
    adjacency = 0.5 * spread + 0.5 * (1 - abs(spearmanr(a).statistic))
    identity = np.eye(a.shape[1])
    step = 0.9 / abs(np.linalg.eigvals(adjacency)).max()
    return (np.linalg.inv(identity - step * adjacency) - identity).sum(1)


def test_the_final_response_layer_is_ranked_by_its_responses_and_passed_on():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))
    x = torch.randn(60, 3)
    scores = nodelens.score(model, [x], [{"name": "nisp", "final": "inf_fs"}], folds=2)
    expected = infinite(model[:4](x).detach().double().numpy())
    assert scores["nisp", "2:neurons"].values == pytest.approx(expected, rel=1e-5)
    earlier = mass(model[2]).T.numpy() @ expected
    assert scores["nisp", "0:neurons"].values == pytest.approx(earlier, rel=1e-5)
    assert scores["nisp", "0:neurons"].se is not None


def test_responses_of_dead_constant_and_equal_nodes():
    a = torch.rand(30, 4, generator=torch.Generator().manual_seed(2)).double()
    a[:, 1], a[:, 2] = 0.0, 3.0
    found = infinite_feature_selection(a)
    assert bool(found.isfinite().all())
    torch.testing.assert_close(found[1], found[2])
    assert infinite_feature_selection(a[:, :1]).tolist() == [0.0]
    assert infinite_feature_selection(a[:, [0, 0, 0]]).tolist() == [0.0] * 3


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

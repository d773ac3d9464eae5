"""Masks and readers at the products of modules with their own weights, against zeroed weights."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nodelens.channels.infer import infer
from nodelens.errors import ModelError
from nodelens.masks import mask, operand_reader
from nodelens.masks.entry_labels import EntryLabels


class Attends(nn.Module):
    def __init__(self, batch_first=True):
        super().__init__()
        torch.manual_seed(0)
        self.a = nn.Linear(4, 12)
        self.attention = nn.MultiheadAttention(12, 3, batch_first=batch_first)
        self.c = nn.Linear(12, 2)

    def forward(self, x):
        x = self.a(x)
        return self.c(x + self.attention(x, x, x, need_weights=False)[0])


class Stacked(nn.Module):
    """Experts whose weights are picked per sample."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.w1 = nn.Parameter(torch.randn(4, 10, 8))
        self.w2 = nn.Parameter(torch.randn(4, 8, 6))
        self.gate, self.out = nn.Linear(10, 4), nn.Linear(6, 2)

    def forward(self, x):
        p, i = self.gate(x).topk(2, -1)
        h = torch.einsum("bd,bkdh->bkh", x, self.w1[i]).relu()
        return self.out(torch.einsum("bkh,bkho,bk->bo", h, self.w2[i], p))


class Looped(Stacked):
    """The same experts one by one, each with its tokens."""

    def forward(self, x):
        p, i = self.gate(x).topk(2, -1)
        out = x.new_zeros(len(x), 6)
        for expert in range(4):
            rows, place = torch.where(i == expert)
            hidden = F.relu(F.linear(x[rows], self.w1[expert].t()))
            out.index_add_(0, rows, (hidden @ self.w2[expert]) * p[rows, place, None])
        return self.out(out)


class Tied(nn.Module):
    """One square weight, used both ways round."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.c = nn.Linear(4, 6), nn.Linear(6, 2)
        self.w = nn.Parameter(torch.randn(6, 6))

    def forward(self, x):
        return self.c((F.relu(self.a(x).tanh() @ self.w) @ self.w.t()).tanh())


class Convolves(nn.Module):
    def __init__(self, groups):
        super().__init__()
        torch.manual_seed(0)
        self.a = nn.Conv1d(3, 8, 1)
        self.w = nn.Parameter(torch.randn(6, 8 // groups, 3))
        self.t = nn.Parameter(torch.randn(6, 5, 2))
        self.c = nn.Linear(5, 2)
        self.groups = groups

    def forward(self, x):
        x = F.conv1d(F.relu(self.a(x)), self.w, groups=self.groups)
        return self.c(F.conv_transpose1d(F.relu(x), self.t).mean(-1))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.rnn = nn.GRU(4, 5, num_layers=2, bidirectional=True, batch_first=True)
        self.c = nn.Linear(10, 2)

    def forward(self, x):
        return self.c(self.rnn(x)[0][:, -1])


class Headwise(nn.Module):
    """Heads and their dimensions summed in one product, by a weight that is cast and scaled."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.c = nn.Linear(4, 15), nn.Linear(7, 2)
        self.w = nn.Parameter(torch.randn(3, 5, 7))

    def forward(self, x):
        x = F.relu(self.a(x)).unflatten(-1, (3, 5))
        return self.c(torch.einsum("bnhd,hde->bne", x, (2 * self.w).clone().abs()))


X = torch.randn(6, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
FLAT = torch.randn(9, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
CASES = {
    "attention": (Attends, X),
    "attention, positions first": (lambda: Attends(batch_first=False), X),
    "picked experts": (Stacked, FLAT),
    "experts in a loop": (Looped, FLAT),
    "tied": (Tied, X),
    "convolution": (lambda: Convolves(1), X[:, :3]),
    "grouped convolution": (lambda: Convolves(2), X[:, :3]),
    "recurrent": (Recurrent, X),
    "heads": (Headwise, X),
}


def built(name):
    make, x = CASES[name]
    model = make().double().eval()
    return model, x, infer(model, x)


def cut(model, group, dropped):
    """Return a copy in which no weight reads the dropped nodes."""
    changed = copy.deepcopy(model)
    tensors = dict(changed.named_parameters())
    with torch.no_grad():
        for part in group.role("consumer"):
            rows = tensors[part.parameter].movedim(part.axis, 0)
            rows[[index for node in dropped for index in part.extent.indices()[node]]] = 0
    return changed


@pytest.mark.parametrize("name", CASES)
def test_a_masked_operand_is_a_weight_that_does_not_read(name):
    model, x, graph = built(name)
    seen = 0
    for group in graph:
        if not any(site.end == "operand" for site in group.sites) or "head_dim" in group.name:
            continue
        if not group.prunable and "torch's own" not in group.frozen:
            continue
        seen += 1
        keep = list(range(1, group.width - 1))
        with torch.no_grad(), mask(model, graph, {group.name: keep}):
            masked = model(x)
        with torch.no_grad():
            whole, expected = model(x), cut(model, group, (0, group.width - 1))(x)
        assert torch.allclose(masked, expected, rtol=1e-12, atol=1e-12), group.name
        assert not torch.allclose(masked, whole)
    assert seen


def test_everything_is_undone_and_nothing_is_seen_outside():
    model, x, graph = built("attention")
    fast = torch.backends.mha.get_fastpath_enabled()
    with torch.no_grad():
        clean = model(x)
        with pytest.raises(ValueError, match="body"), mask(model, graph, {"attention:heads": [0]}):
            model(x)
            raise ValueError("body")
        assert torch.equal(model(x), clean)
    assert torch.backends.mha.get_fastpath_enabled() == fast
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert torch.utils._python_dispatch._get_current_dispatch_mode() is None


def test_a_model_that_raises_inside_leaves_no_mode_behind():
    model, x, graph = built("attention")
    with torch.no_grad(), mask(model, graph, {"attention:heads": [0]}):
        with pytest.raises(AssertionError):
            model.attention(x[..., :3], x[..., :3], x[..., :3])
        assert torch.utils._python_dispatch._get_current_dispatch_mode() is None
        model(x)


def test_gradients_are_refused():
    model, x, graph = built("attention")
    with (
        mask(model, graph, {"attention:heads": [0]}),
        pytest.raises(ModelError, match="without gradients only; run the model under"),
    ):
        model(x)


def test_means_are_put_at_operands():
    model, x, graph = built("heads")
    group = next(group for group in graph if group.width == 5 and group.prunable)
    means = {group.name: torch.arange(5.0, dtype=torch.float64)}
    with torch.no_grad(), mask(model, graph, {group.name: [0, 1, 3, 4]}, "mean", means):
        masked = model(x)
    with torch.no_grad():
        h = F.relu(model.a(x)).unflatten(-1, (3, 5)).index_fill(-1, torch.tensor(2), 2.0)
        expected = model.c(torch.einsum("bnhd,hde->bne", h, (2 * model.w).abs()))
    assert torch.allclose(masked, expected)


def test_resampled_operands_come_from_whole_other_samples():
    model, x, graph = built("attention")
    reads = []
    sites = graph["attention:heads"].at("activation")
    with torch.no_grad(), operand_reader(model, sites, keep_nodes(reads, 6)):
        model(x)
        with mask(model, graph, {"attention:heads": [0]}, "resample", seed=3):
            model(x)
    clean, resampled = reads[0], reads[-1]
    assert torch.equal(resampled[..., 0], clean[..., 0])
    donors = [
        [n for n in range(6) if torch.equal(row[..., 1:], clean[n, ..., 1:])] for row in resampled
    ]
    assert sorted(n for each in donors for n in each) == list(range(6))
    assert donors != [[n] for n in range(6)]


def keep_nodes(reads, rows):
    return lambda site, tensor: reads.append(site.nodes(tensor, rows).detach().clone())


def test_a_reader_sees_samples_positions_nodes():
    model, x, graph = built("attention")
    (site,) = graph["attention:heads"].at("activation")
    assert site.rows.last
    reads = []
    with torch.no_grad(), operand_reader(model, [site], keep_nodes(reads, 6)):
        model(x)
    h = model.a(x)
    q, k, v = F.linear(h, model.attention.in_proj_weight, model.attention.in_proj_bias).chunk(3, -1)
    q, k, v = (t.unflatten(-1, (3, 4)).transpose(1, 2) for t in (q, k, v))
    y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2)  # (samples, positions, heads, 4)
    expected = y.transpose(-1, -2).reshape(6, -1, 3)
    assert torch.allclose(reads[0], expected)


def test_operands_carry_their_gradients():
    model, x, graph = built("attention")
    (site,) = graph["attention:heads"].at("activation")
    seen = []

    def read(site, tensor):
        assert tensor.requires_grad
        tensor.register_hook(lambda gradient: seen.append((tensor.detach(), gradient)))

    with operand_reader(model, [site], read):
        model(x).square().sum().backward()
    ((operand, gradient),) = seen
    with torch.no_grad():
        h = model.a(x)
    operand = operand.clone().requires_grad_()
    y = F.linear(operand, model.attention.out_proj.weight, model.attention.out_proj.bias)
    model.c(h + y.view(5, 6, 12).transpose(0, 1)).square().sum().backward()
    assert torch.allclose(gradient, operand.grad)


def test_gradients_reach_a_raw_weight_through_views_of_it():
    model, x, graph = built("tied")
    sites = [site for group in graph for site in group.at("activation") if site.end == "operand"]
    seen = {}

    def read(site, tensor):
        tensor.register_hook(lambda gradient: seen.update({site.along: tuple(gradient.shape)}))

    with operand_reader(model, sites, read):
        model(x).sum().backward()
    assert seen == {0: (30, 6), 1: (30, 6)}


def test_a_recurrent_weight_is_met_at_every_step_that_reads_data():
    model, x, graph = built("recurrent")
    site = next(
        site
        for group in graph
        for site in group.at("activation")
        if str(site.argument).endswith("weight_hh_l0")
    )
    met = []
    with torch.no_grad(), operand_reader(model, [site], lambda site, tensor: met.append(tensor)):
        model(x)
    assert [tuple(tensor.shape) for tensor in met] == [(6, 5)] * 4


def test_labels_follow_views_and_picks():
    weight = torch.randn(4, 3, 5)
    labels = EntryLabels(weight, 1)
    assert labels.knows(weight[2].t())
    assert not labels.knows(torch.randn(4, 3, 5))
    assert labels.along(weight[2].t(), (1,)).tolist() == [0, 1, 2]
    assert labels.along(weight[:, 1:], (1,)).tolist() == [1, 2]
    assert labels.along(weight.view(12, 5), (0,)).tolist() == [0, 1, 2] * 4
    picked = weight[torch.tensor([3, 3, 0])]
    labels.note(picked, labels.everywhere(weight)[torch.tensor([3, 3, 0])])
    assert labels.along(picked[1].t(), (1,)).tolist() == [0, 1, 2]


def test_a_parameter_with_gaps_in_memory_is_refused():
    with pytest.raises(ModelError, match="does not fill its memory"):
        EntryLabels(torch.zeros(4, 6)[:, ::2], 0)

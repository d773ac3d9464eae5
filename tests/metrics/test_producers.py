"""Nodes that several weights, or several rows of one, write: one of the weights is named."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import nodelens
from nodelens_metrics.mathematics.spectra import power_law


class Gated(nn.Module):
    def __init__(self, fused=False):
        super().__init__()
        self.stem = nn.Linear(3, 8)
        self.fused = nn.Linear(8, 14) if fused else None
        self.gate, self.up = nn.Linear(8, 7), nn.Linear(8, 7, bias=False)
        self.down = nn.Linear(7, 2)

    def forward(self, x):
        x = torch.tanh(self.stem(x))
        gate, up = (self.gate(x), self.up(x)) if self.fused is None else self.fused(x).chunk(2, -1)
        return self.down(F.silu(gate) * up)


@pytest.fixture
def x():
    return torch.randn(40, 3, generator=torch.Generator().manual_seed(1)).double()


def made(kind, *args):
    torch.manual_seed(0)
    return kind(*args).double().eval()


def values(model, x, name, **options):
    """Return the scores of one metric by group, and the reasons of the groups without."""
    scores = nodelens.score(model, [x[:25], x[25:]], [{"name": name, **options}], folds=2)
    scored = {**scores.scores, **scores.layers}
    found = {group: torch.from_numpy(score.values) for (_, group), score in scored.items()}
    return found, {group: reason for (_, group), reason in scores.skipped.items()}


def covariance(samples):
    return torch.cov(samples.flatten(0, -2).T, correction=0)


def quotient(rows, sigma):
    """Return tr WΣWᵀ / ‖W‖² of rows ``(nodes, rows, features)``."""
    return torch.einsum("nrf,fg,nrg->n", rows, sigma, rows) / rows.square().sum((1, 2))


METRICS = ("rayleigh_quotient", "input_directions", "spectral_alignment", "input_information")


@pytest.mark.parametrize("name", [*METRICS, "class_rayleigh_quotient", "weight_alpha"])
def test_without_a_name_the_two_weights_of_a_gated_unit_are_a_reason(name, x):
    labelled = [(x, torch.arange(40) % 2)]
    model = made(Gated)
    scores = nodelens.score(model, labelled, [name], folds=2)
    reason = "2 weights write these nodes: gate.weight, up.weight; metrics with the option"
    assert scores.skipped[name, "gate:neurons"].startswith(reason)


def test_a_name_that_no_weight_has_is_a_reason(x):
    found, reasons = values(made(Gated), x, "rayleigh_quotient", producer="value")
    assert found == {}
    known = "gate.weight, up.weight"
    assert reasons["gate:neurons"] == f"no weight called value writes these nodes, but {known}"


@pytest.mark.parametrize("producer", ["gate", "up", "up.weight"])
def test_the_named_weight_of_a_gated_unit_is_scored(producer, x):
    model = made(Gated)
    read = torch.tanh(model.stem(x)).detach()
    w = model.get_parameter(producer.removesuffix(".weight") + ".weight").detach()
    y = (read @ w.T).var(0, correction=0)
    found = {name: values(model, x, name, producer=producer)[0] for name in METRICS}
    found = {name: scores["gate:neurons"] for name, scores in found.items()}
    torch.testing.assert_close(found["rayleigh_quotient"], y / w.square().sum(1))
    torch.testing.assert_close(found["input_information"], 0.5 * (y / y.quantile(0.5)).log1p())
    eigenvalues, vectors = torch.linalg.eigh(covariance(read))
    along = (w @ vectors).square()
    share = along * eigenvalues / y.unsqueeze(1)
    torch.testing.assert_close(found["input_directions"], torch.special.entr(share).sum(1).exp())
    falling = eigenvalues.flip(0)
    count = 1 + int((falling.cumsum(0) < 0.9 * falling.sum()).sum())
    leading = along.flip(1)[:, :count].sum(1) / w.square().sum(1)
    torch.testing.assert_close(found["spectral_alignment"], leading)


@pytest.mark.parametrize("scale", ["layer", "trace", "largest"])
def test_scales_of_a_named_weight(scale, x):
    model = made(Gated)
    sigma = covariance(torch.tanh(model.stem(x)).detach())
    plain = quotient(model.up.weight.detach().unsqueeze(1), sigma)
    expected = (
        plain
        / {
            "layer": plain.mean(),
            "trace": sigma.trace(),
            "largest": torch.linalg.eigvalsh(sigma)[-1],
        }[scale]
    )
    found, _ = values(model, x, "rayleigh_quotient", producer="up", scale=scale)
    torch.testing.assert_close(found["gate:neurons"], expected)


def test_naming_the_only_weight_changes_nothing(x):
    model = made(Gated)
    for name in METRICS:
        named, plain = values(model, x, name, producer="stem")[0], values(model, x, name)[0]
        torch.testing.assert_close(named["stem:neurons"], plain["stem:neurons"])


def test_a_fused_weight_counts_with_both_of_its_rows(x):
    model = made(Gated, True)
    rows = model.fused.weight.detach().unflatten(0, (2, 7)).transpose(0, 1)
    sigma = covariance(torch.tanh(model.stem(x)).detach())
    found, _ = values(model, x, "rayleigh_quotient", producer="fused")
    torch.testing.assert_close(found["fused:neurons"], quotient(rows, sigma))
    y = torch.einsum("nrf,fg,nsg->nrs", rows, sigma, rows)
    noise = y.diagonal(dim1=1, dim2=2).mean(1).quantile(0.5)
    exact = 0.5 * torch.logdet(torch.eye(2) + y / noise)
    found, _ = values(model, x, "input_information", producer="fused")
    torch.testing.assert_close(found["fused:neurons"], exact)


def test_rows_of_a_grouped_convolution_read_their_own_channels():
    torch.manual_seed(2)
    model = nn.Sequential(
        nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), nn.ReLU(), nn.Conv2d(6, 2, 3)
    ).double()
    x = torch.randn(30, 4, 9, 9).double()
    patches = F.unfold(x, 3, stride=2, padding=1).unflatten(1, (2, -1))
    sigma = [covariance(patches[:, block].mT) for block in range(2)]
    rows = model[0].weight.detach().flatten(1).unflatten(0, (2, 3)).transpose(0, 1)
    y = torch.stack([(rows[:, b] @ sigma[b] * rows[:, b]).sum(1) for b in range(2)], dim=1)
    ((_, found),) = values(model, x, "rayleigh_quotient", producer="0")[0].items()
    torch.testing.assert_close(found, y.sum(1) / rows.square().sum((1, 2)))
    ((_, found),) = values(model, x, "input_directions", producer="0")[0].items()
    profile = torch.cat(
        [
            (rows[:, b] @ vectors).square() * w
            for b, (w, vectors) in enumerate(map(torch.linalg.eigh, sigma))
        ],
        dim=1,
    )
    share = profile / profile.sum(1, keepdim=True)
    torch.testing.assert_close(found, torch.special.entr(share).sum(1).exp())
    ((_, found),) = values(model, x, "input_information", producer="0")[0].items()
    noise = y.mean(1).quantile(0.5)
    torch.testing.assert_close(found, 0.5 * (y / noise).log1p().sum(1))


@pytest.fixture(scope="module")
def llama():
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 4}
    config = LlamaConfig(vocab_size=50, num_hidden_layers=1, num_key_value_heads=2, **sizes)
    return LlamaForCausalLM(config).double().eval()


def test_gated_units_and_heads_of_a_llama(llama):
    tokens = torch.randint(50, (20, 9), generator=torch.Generator().manual_seed(3))
    layer, read = llama.model.layers[0], {}
    hooks = [
        module.register_forward_pre_hook(lambda _, args, name=name: read.update({name: args[0]}))
        for name, module in (("up_proj", layer.mlp.up_proj), ("v_proj", layer.self_attn.v_proj))
    ]
    with torch.no_grad():
        llama(tokens)
    for hook in hooks:
        hook.remove()
    found, _ = values(llama, tokens, "rayleigh_quotient", producer="up_proj")
    up = layer.mlp.up_proj.weight.detach().unsqueeze(1)
    (neurons,) = found.values()
    torch.testing.assert_close(neurons, quotient(up, covariance(read["up_proj"])))
    found, _ = values(llama, tokens, "rayleigh_quotient", producer="v_proj")
    heads = layer.self_attn.v_proj.weight.detach().unflatten(0, (2, 4))
    expected = quotient(heads, covariance(read["v_proj"]))
    torch.testing.assert_close(found["model.layers.0.self_attn:kv_groups"], expected)


@pytest.mark.parametrize(
    ("producer", "group"),
    [
        ("gate_proj", "model.layers.0.mlp:neurons"),
        ("v_proj", "model.layers.0.self_attn:kv_groups"),
        ("down_proj", "model.embed_tokens:residual"),
    ],
)
def test_every_matrix_of_a_llama_has_a_spectrum(llama, producer, group):
    tokens = torch.randint(50, (2, 5), generator=torch.Generator().manual_seed(3))
    weight = next(p for name, p in llama.named_parameters() if f"{producer}.weight" in name)
    spectrum = torch.linalg.svdvals(weight.detach()).square()
    found, _ = values(llama, tokens, "weight_stable_rank", producer=producer)
    torch.testing.assert_close(found[group], (spectrum.sum() / spectrum[0]).view(1))
    found, _ = values(llama, tokens, "weight_alpha", producer=producer)
    assert found[group].item() == pytest.approx(power_law(spectrum).alpha)


def test_the_weight_of_a_group_of_blocks_needs_no_name(llama):
    tokens = torch.randint(50, (2, 5), generator=torch.Generator().manual_seed(3))
    found, _ = values(llama, tokens, "weight_effective_rank")
    sigma = torch.linalg.svdvals(llama.model.layers[0].self_attn.q_proj.weight.detach())
    p = sigma / sigma.sum()
    expected = torch.special.entr(p).sum().exp().view(1)
    torch.testing.assert_close(found["model.layers.0.self_attn:query_heads"], expected)


class Reused(nn.Module):
    """Multiplies a square weight a second time, outside the layer that owns it."""

    def __init__(self, transposed):
        super().__init__()
        self.a, self.out, self.transposed = nn.Linear(6, 6), nn.Linear(6, 3), transposed

    def forward(self, x):
        weight = self.a.weight.t() if self.transposed else self.a.weight
        return self.out(torch.tanh(nn.functional.linear(torch.relu(self.a(x)), weight)))


@pytest.mark.parametrize("transposed", [False, True])
def test_a_weight_that_is_multiplied_elsewhere_is_not_paired_with_its_owners_input(transposed):
    torch.manual_seed(0)
    metrics = ["wanda_channel", "input_directions", "spectral_alignment", "llm_pruner_element"]
    data = [(torch.randn(24, 6), torch.arange(24) % 3)]
    scores = nodelens.score(Reused(transposed), data, ["weight_l1", *metrics], folds=2)
    reasons = {reason for (name, _), reason in scores.skipped.items() if name in metrics}
    assert not scores.failed and any(name == "weight_l1" for name, _ in scores.scores)
    reused = {group for _, group in scores.skipped if group.startswith("a")}
    assert reused and not {key for key in scores.scores if key[0] in metrics and key[1] in reused}
    assert any("a.weight is multiplied in the model's own forward as well" in r for r in reasons)

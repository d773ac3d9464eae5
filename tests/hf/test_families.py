"""Every family from a random configuration: scores, mask, removal, folder, equal outputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.hf.architectures import SUITE, build

import nodelens
import nodelens_hf
from nodelens.channels.infer import infer
from nodelens.masks import mask
from nodelens.removal.removal import remove
from nodelens_hf.hints import HINTS

METRICS = {
    "norms and weights": ["weight_l2", "fpgm", "outgoing_entropy"],
    "activations": ["activation_rms", "wanda_sp", "flap_wifv"],
    "alignment and spectrum": [
        *("rayleigh_quotient", "leverage", "eigen_share", "participation_contribution"),
    ],
    "information": ["input_information", "redundancy", "peer_redundancy", "task_information"],
    "gradients and curvature": ["first_order", "loss_proxy", "mean_ablation_fisher"],
    "similarity and structure": ["activation_correlation", "weight_cosine", "scar"],
    "composites": [
        {"name": "composite", "label": "a", "parts": ["weight_l2", "loss_proxy"]},
        {"name": "composite", "label": "b", "parts": ["leverage", "scar"], "by": "standard"},
        {"name": "composite", "label": "c", "parts": [{"name": "fpgm", "weight": 2}, "scar"]},
    ],
}
"""Three of each family, and more where one needs the covariance of the input of one producer."""


def labelled(inputs):
    """Return the inputs with a class for every image, or the next token for every position."""
    if "pixel_values" in inputs:
        return {**inputs, "labels": torch.tensor([1, 3])}
    tokens = inputs.get("decoder_input_ids", inputs["input_ids"])
    return {**inputs, "labels": tokens.roll(-1, 1)}


def names(metrics):
    return [each if isinstance(each, str) else each["label"] for each in metrics]


def check_scored(scores, group):
    """Fail unless three metrics of every family have scored the group, in finite numbers."""
    for family, metrics in METRICS.items():
        scored = [name for name in names(metrics) if (name, group) in scores]
        assert len(scored) >= 3, (family, group, scored)
        assert all(np.isfinite(scores[name, group].values).all() for name in scored)


@torch.no_grad()
def outputs(model, inputs):
    return model(**inputs).logits


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SUITE))
def test_capture_mask_prune_save_load(name, tmp_path):
    model, inputs = build(name)
    if getattr(model.config, "use_cache", None):
        model.config.use_cache = False
    metrics = [metric for family in METRICS.values() for metric in family]
    scores = nodelens.score(model, [labelled(inputs)], metrics, folds=2)
    assert not scores.failed
    graph = infer(model, **inputs)
    keep = {}
    for group in graph:
        if group.prunable and group.kind in ("neurons", "kv_groups", "heads", "channels"):
            check_scored(scores, group.name)
            ranked = scores["first_order", group.name].values.argsort()
            kept = ranked[-(group.width // 8 * 4 or max(group.width // 2, 1)) :]
            keep[group.name] = sorted(kept.tolist())
    assert keep
    with mask(model, graph, keep):
        masked = outputs(model, inputs)
    removal = remove(model, graph, keep, hints=HINTS, **inputs)
    after = outputs(model, inputs)
    if all(verdict.status == "exact" for verdict in removal.verdicts):
        torch.testing.assert_close(after, masked, rtol=1e-4, atol=1e-5)
    nodelens_hf.save(model, tmp_path / "out")
    found = outputs(nodelens_hf.load(tmp_path / "out"), inputs)
    assert torch.equal(found, after)

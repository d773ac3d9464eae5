"""Every family from a random configuration: scores, mask, removal, folder, equal outputs."""

from __future__ import annotations

import pytest
import torch
from tests.hf.architectures import SUITE, build

import nodelens
import nodelens_hf
from nodelens.channels.infer import infer
from nodelens.masks import mask
from nodelens.removal.removal import remove
from nodelens_hf.hints import HINTS

METRICS = ["weight_l2", "activation_rms", "first_order", "redundancy"]
"""One of weights, of activations, of gradients, and of the covariance of nodes."""


def squares(output, batch):
    """Return a loss that needs no labels, one per row."""
    return output[0].float().flatten(1).square().mean(1)


@torch.no_grad()
def outputs(model, inputs):
    return model(**inputs).logits


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SUITE))
def test_capture_mask_prune_save_load(name, tmp_path):
    model, inputs = build(name)
    if getattr(model.config, "use_cache", None):
        model.config.use_cache = False
    scores = nodelens.score(model, [inputs], METRICS, loss=squares, folds=2)
    assert not scores.failed
    graph = infer(model, **inputs)
    keep = {}
    for group in graph:
        if group.prunable and group.kind in ("neurons", "kv_groups", "heads", "channels"):
            ranked = scores["first_order", group.name]
            assert all((metric, group.name) in scores for metric in METRICS)
            kept = ranked.values.argsort()[-(group.width // 8 * 4 or max(group.width // 2, 1)) :]
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
    tolerance = 1e-5 if "pixel_values" in inputs else 0.0  # convolutions choose their kernel
    torch.testing.assert_close(found, after, rtol=tolerance, atol=tolerance)

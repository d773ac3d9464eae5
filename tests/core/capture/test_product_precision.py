"""Products of statistics in full float32, whatever is allowed for the model's own products."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from attrs import frozen
from torch import nn

from nodelens.capture.product_precision import exact_products
from nodelens.statistics.gram import Gram

MATMUL = torch.backends.cuda.matmul
SEVERAL = hasattr(MATMUL, "fp32_precision")
SETTINGS = ["nothing", "high", "medium", "allow_tf32"]
SETTINGS += ["cuda", "cpu", "everything"] if SEVERAL else []


def allow(setting):
    if setting in ("high", "medium"):
        torch.set_float32_matmul_precision(setting)
    elif setting == "allow_tf32":
        MATMUL.allow_tf32 = True
    elif setting == "cuda":
        MATMUL.fp32_precision = "tf32"
    elif setting == "cpu":
        torch.backends.mkldnn.matmul.fp32_precision = "bf16"
    elif setting == "everything":
        torch.backends.fp32_precision = "tf32"


def state():
    try:
        together = torch.get_float32_matmul_precision()
    except RuntimeError:
        together = "mixed"
    if not SEVERAL:
        return together, MATMUL.allow_tf32
    backends = (torch.backends, MATMUL, torch.backends.mkldnn.matmul)
    return together, *(each.fp32_precision for each in backends)


@pytest.fixture(autouse=True)
def _back_to_normal():
    yield
    if SEVERAL:
        torch.backends.fp32_precision = "none"
        MATMUL.fp32_precision = torch.backends.mkldnn.matmul.fp32_precision = "none"
    torch.set_float32_matmul_precision("highest")
    if SEVERAL:
        MATMUL.fp32_precision = torch.backends.mkldnn.matmul.fp32_precision = "none"


@pytest.mark.parametrize("setting", SETTINGS)
def test_products_are_full_inside_and_settings_as_before_outside(setting):
    allow(setting)
    before = state()
    with exact_products("cpu"):
        assert torch.get_float32_matmul_precision() == "highest"
        if SEVERAL:
            assert MATMUL.fp32_precision in ("none", "ieee")
            assert torch.backends.mkldnn.matmul.fp32_precision in ("none", "ieee")
    assert state() == before


def test_settings_are_as_before_also_when_a_statistic_raises():
    torch.set_float32_matmul_precision("high")
    before = state()
    with pytest.raises(ZeroDivisionError), exact_products("cpu"):
        raise ZeroDivisionError
    assert state() == before


@frozen
class Noting:
    """Notes what is allowed while a statistic is updated."""

    reads = "activation"
    requires = frozenset()
    seen: ClassVar = []

    def floats(self, layout):
        return layout.folds

    def start(self, layout):
        return {"count": torch.zeros(layout.folds, dtype=torch.float64)}

    def update(self, state, reading):
        self.seen.append((torch.get_float32_matmul_precision(), torch.is_autocast_enabled("cpu")))

    def merge(self, state, other):
        state["count"] += other["count"]

    def summary(self, state, keep):
        return state["count"][keep].sum()


def test_statistics_are_updated_in_full_precision_and_the_model_runs_as_it_was_set(capture_of):
    ran = []

    class Net(nn.Sequential):
        def forward(self, x):
            ran.append(torch.get_float32_matmul_precision())
            return super().forward(x)

    Noting.seen.clear()
    torch.manual_seed(0)
    model, x = Net(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)), torch.randn(6, 4)
    torch.set_float32_matmul_precision("medium")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        capture_of(model, [x], (Noting(),))
    assert set(Noting.seen) == {("highest", False)}
    assert ran[-1] == "medium"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_covariance_on_cuda_has_float32_s_digits_although_tf32_is_allowed(capture_of, summary):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 3)).cuda()
    x = torch.randn(4096, 64, device="cuda")
    MATMUL.allow_tf32 = True
    got = capture_of(model, [x], (Gram(),), device="cuda")
    found = summary(got, "0:neurons", Gram()).covariance
    MATMUL.allow_tf32 = False
    a = model[1](model[0](x)).double()
    expected = torch.cov(a.T, correction=0)
    assert float((found - expected).abs().max() / expected.abs().max()) < 1e-5

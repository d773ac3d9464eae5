"""Settings for all tests."""

from __future__ import annotations

import os

# Results are compared bit for bit; hub access is never wanted.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
# The models are small, and tests may run in several processes.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from hypothesis import settings

# No test is timed: a busy machine would fail it.
settings.register_profile("untimed", parent=settings.default, deadline=None)
settings.load_profile("untimed")


def torch_state() -> dict[str, object]:
    return {
        "threads": torch.get_num_threads(),
        "dtype": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(),
        "precision": torch.get_float32_matmul_precision(),
        "onednn": torch.backends.mkldnn.enabled,
        "attention": torch.backends.mha.get_fastpath_enabled(),
    }


@pytest.fixture(autouse=True)
def torch_is_left_as_it_was():
    """Fail a test that changes a setting of torch for the tests after it."""
    before = torch_state()
    yield
    assert torch_state() == before

"""Settings for all tests."""

from __future__ import annotations

import os

# Results are compared bit for bit; hub access is never wanted.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
# The models are small, and tests may run in several processes.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import settings

# No test is timed: a busy machine would fail it.
settings.register_profile("untimed", parent=settings.default, deadline=None)
settings.load_profile("untimed")

"""The same numbers from independent libraries, where these are right."""

from __future__ import annotations

import contextlib
import io
import warnings

import pytest
import torch
from torch import nn

import nodelens
from nodelens_metrics.mathematics.spectra import power_law, squared_singular_values


def heavy_tailed(rows: int, columns: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(0)
    scale = torch.rand(columns, generator=random) ** -0.7
    return torch.randn(rows, columns, generator=random) * scale / 10


@pytest.fixture(scope="module")
def watched():
    """Return a function that gives WeightWatcher's row for one Linear weight."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        import weightwatcher

    def run(weight):
        model = nn.Sequential(nn.Linear(weight.shape[1], weight.shape[0], bias=False))
        model[0].weight.data = weight.clone()
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            return weightwatcher.WeightWatcher(model=model).analyze(min_evals=10).iloc[0]

    return run


@pytest.mark.parametrize("shape", [(200, 300), (150, 60)])
def test_weightwatcher_fits_the_same_power_law(watched, shape):
    weight = heavy_tailed(*shape)
    theirs = watched(weight)
    values = squared_singular_values(weight.double())
    ours = power_law(values)
    assert ours.alpha == pytest.approx(theirs["alpha"], rel=1e-6)
    assert ours.start == pytest.approx(theirs["xmin"], rel=1e-6)
    assert ours.distance == pytest.approx(theirs["D"], rel=1e-6)
    weighted = ours.alpha * float(values[0].log10())
    assert weighted == pytest.approx(theirs["alpha_weighted"], rel=1e-6)
    stable = float(values.sum() / values[0])
    assert stable == pytest.approx(theirs["stable_rank"], rel=1e-6)


def test_captum_finds_the_same_conductance():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from captum.attr import LayerConductance

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 3))
    model = model.double().eval()
    x, y = torch.randn(16, 5, dtype=torch.float64), torch.randint(3, (16,))
    layer = LayerConductance(model, model[1])
    theirs = layer.attribute(x, target=y, n_steps=1000, method="riemann_trapezoid").mean(0)
    metric = {"name": "conductance", "steps": 200, "target": "logit"}
    ours = nodelens.score(model, [(x, y)], [metric], folds=4)["conductance", "0:neurons"].values
    expected = theirs.detach().numpy()
    assert ours == pytest.approx(expected, abs=2e-3 * abs(expected).max())

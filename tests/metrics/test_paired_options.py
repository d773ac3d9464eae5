"""Options that say something only beside another one."""

import pytest
import torch

from nodelens.testing.metric_checks import scores
from nodelens.testing.world import make_world
from nodelens_metrics.activations import ZeroFraction
from nodelens_metrics.distributions import MassiveActivation, SignedQuantile
from nodelens_metrics.spectrum import EigenspectrumDecay


@pytest.mark.parametrize(
    ("metric", "given", "changed"),
    [
        (ZeroFraction, {"tolerance": 0.5}, {"relative": True}),
        (SignedQuantile, {"q": 0.75}, {"bins": 32}),
        (MassiveActivation, {"magnitude": 6.0, "ratio": 1.0}, {"flag": True}),
        (MassiveActivation, {"ratio": 1.0}, {"magnitude": 6.0}),
        (EigenspectrumDecay, {"until": 1.0}, {"weighted": False}),
        (EigenspectrumDecay, {"weighted": False}, {"until": 1.0}),
    ],
)
def test_the_option_alone_makes_the_difference(metric, given, changed):
    world = make_world()
    one, other = scores(metric(**given), world), scores(metric(**given, **changed), world)
    assert not torch.allclose(one, other)

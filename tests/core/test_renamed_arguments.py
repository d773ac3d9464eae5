"""Arguments that were called something else: a call with the earlier name says the present one."""

import pytest
import torch
from attrs import fields
from torch import nn

import nodelens
from nodelens.config.schema import CaptureSettings, StoppingSettings
from nodelens.errors import ConfigError
from nodelens.recovery.fine_tune import FineTune
from nodelens.renamed_arguments import earlier_names, renamed_arguments
from nodelens.statistics.gram import Gram
from nodelens.statistics.moments import Moments
from nodelens_hf.lora import LoRA
from nodelens_metrics.weights.writing import WriteOverlap
from nodelens_pruning.methods import MagnitudePruner, RandomPruner, ScorePruner, TaylorPruner

X = torch.zeros(4, 3)


@pytest.mark.parametrize(
    ("earlier", "present"),
    [("until", "stop_when"), ("tokens", "position_fraction"), ("ranks", "workers")],
)
def test_an_argument_of_score(earlier, present):
    with pytest.raises(ConfigError, match=f"score: {earlier} is called {present} now"):
        nodelens.score(nn.Linear(3, 2), [X], ["weight_l1"], **{earlier: None})


@pytest.mark.parametrize(
    "kind",
    [
        *(CaptureSettings, StoppingSettings, FineTune, LoRA, Gram, Moments, WriteOverlap),
        *(MagnitudePruner, RandomPruner, ScorePruner, TaylorPruner),
    ],
)
def test_every_earlier_name_of_a_class(kind):
    names = earlier_names(kind)
    assert names
    assert set(names.values()) <= {each.name for each in fields(kind)}
    for earlier, present in names.items():
        said = f"{kind.__name__}: {earlier} is called {present} now"
        with pytest.raises(ConfigError, match=said):
            kind(**{earlier: None})


class Taking(nn.Linear):
    """A model with an input of the name that an argument had."""

    def forward(self, x, share=1.0, rules=1.0):
        return super().forward(x) * share * rules


def test_an_argument_beside_inputs_of_the_model():
    model = nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 2))
    with pytest.raises(ConfigError, match="infer: rules is called operators now"):
        nodelens.infer(model, X, rules={})
    with pytest.raises(ConfigError, match="verify: share is called fraction now"):
        nodelens.infer(model, X).verify(model, X, share=0.5)


def test_an_input_of_the_model_of_that_name_is_passed_on():
    model = nn.Sequential(nn.Linear(3, 8), Taking(8, 2))
    model.forward = lambda x, share, rules: model[1](model[0](x), share, rules)
    graph = nodelens.infer(model, X, share=0.5, rules=2.0)
    assert [each.status for each in graph.verify(model, X, share=0.5, rules=2.0)] == ["exact"]


def test_what_is_decorated_stays_as_it_was():
    @renamed_arguments(before="now")
    def function(now: int) -> int:
        """Return the number."""
        return now

    assert (function(3), function(now=4)) == (3, 4)
    assert function.__name__ == "function"
    assert Gram(reads="input") == Gram("input") != Gram()

"""The Python interface on models and batches of the user's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import nodelens
from nodelens.errors import (
    ConfigError,
    DataError,
    ModelError,
    NodelensError,
    PluginError,
    UnknownNameError,
)
from nodelens.interfaces.metric import MetricInfo

G = torch.Generator().manual_seed(0)
X, Y = torch.randn(40, 5, generator=G), torch.randint(0, 3, (40,), generator=G)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3))


def test_scores_of_any_module_and_any_iterable(model):
    batches = ((X[i : i + 16], Y[i : i + 16]) for i in range(0, 40, 16))
    scores = nodelens.score(model, batches, metrics=["activation_rms", "taylor"])
    expected = model[1](model[0](X)).square().mean(0).sqrt()
    np.testing.assert_allclose(
        scores["activation_rms", "0:neurons"].values, expected.detach().numpy(), rtol=1e-6
    )
    assert scores.samples == 40
    assert (scores["taylor", "0:neurons"].se > 0).all()


def test_options_labels_and_metric_objects(model):
    from nodelens_metrics.activations.activity import ZeroFraction

    scores = nodelens.score(
        model,
        [X],
        metrics=[{"name": "zero_fraction", "tolerance": 0.5, "label": "nearly"}, ZeroFraction()],
    )
    assert scores.metrics == ("nearly", "ZeroFraction")
    near, exact = scores["nearly", "0:neurons"], scores["ZeroFraction", "0:neurons"]
    assert (near.values >= exact.values).all()


def test_a_loss_of_the_users_own(model):
    def square(output, batch):
        return output.square().sum(1)

    scores = nodelens.score(model, [X], metrics=["first_order"], loss=square)
    a = model[1](model[0](X)).detach().requires_grad_()
    model[2](a).square().sum().backward()
    expected = -(a * a.grad).mean(0).detach().numpy()
    np.testing.assert_allclose(
        scores["first_order", "0:neurons"].values, expected, rtol=1e-5, atol=1e-7
    )


def test_weight_metrics_have_no_standard_error_and_read_no_data(model):
    scores = nodelens.score(model, [X], metrics=["weight_l2"])
    assert scores["weight_l2", "0:neurons"].se is None


def test_a_model_on_dicts_with_padding():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.up, self.down = nn.Embedding(9, 4), nn.Linear(4, 6), nn.Linear(6, 9)

        def forward(self, input_ids, attention_mask):
            return {"logits": self.down(torch.relu(self.up(self.embed(input_ids))))}

    batch = {
        "input_ids": torch.tensor([[1, 2, 3], [4, 5, 0]]),
        "attention_mask": torch.tensor([[1, 1, 1], [1, 1, 0]]),
        "labels": torch.tensor([[2, 3, 4], [5, 6, 0]]),
    }
    scores = nodelens.score(Tokens(), [batch], metrics=["taylor", "activation_rms"])
    assert scores["taylor", "up:neurons"].values.shape == (6,)


@pytest.mark.parametrize(
    ("batches", "metrics", "error", "message"),
    [
        (
            [X],
            ["taylor"],
            DataError,
            "gradient metrics need labels: give batches of (inputs, targets), or",
        ),
        ([X], ["class_selectivity"], DataError, "class metrics need labels"),
        (
            [(X, torch.zeros(len(X), 2, dtype=torch.int64))],
            ["class_selectivity"],
            DataError,
            "these batches have a label per position",
        ),
        ([], ["activation_rms"], DataError, "there are no batches"),
        ([X], [], ConfigError, "the list is empty"),
        ([X], "taylor", ConfigError, "give a list, such as ['taylor']"),
        ([X], ["tailor"], UnknownNameError, "did you mean 'taylor'"),
        ([X], ["weight_l1", "weight_l1"], ConfigError, "'weight_l1' is there twice"),
    ],
)
def test_mistakes_are_explained(model, batches, metrics, error, message):
    with pytest.raises(error) as raised:
        nodelens.score(model, batches, metrics=metrics)
    assert message in str(raised.value)


def test_infer_is_public(model):
    names = [group.name for group in nodelens.infer(model, X)]
    assert names[:2] == ["0:neurons", "2:neurons"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": None}, "the model must be a torch.nn.Module, got NoneType"),
        ({"batches": None}, "batches must be an iterable of batches, got NoneType"),
        ({"batches": [(X[:, :3], Y)]}, "the model does not run on batch 1 ((40, 3)): RuntimeError"),
        ({"batches": [(X, Y + 1)]}, "label 3 does not fit a model of 3 outputs (0 to 2; -100"),
        ({"batches": [(X, Y.float())]}, "targets must be class indices, got torch.float32"),
        ({"batches": [(X, Y[:5])]}, "do not fit targets of shape (5,)"),
        ({"metrics": None}, "give a list, such as ['activation_rms']"),
        ({"metrics": [3]}, "metric 'int' lacks info, statistics, score"),
        ({"metrics": [{"top": 5}]}, "{'top': 5} has no name"),
        ({"folds": 0}, "folds: expected a whole number of at least 2, got 0"),
        ({"folds": "8"}, "folds: expected a whole number of at least 2, got '8'"),
        (
            {"position_fraction": 0.0},
            "position_fraction: expected a number above 0 and at most 1, got 0.0",
        ),
        (
            {"position_fraction": "1/8"},
            "position_fraction: expected a number above 0 and at most 1, got '1/8'",
        ),
        ({"stop_when": "taylor"}, "stop_when: expected a mapping such as {'metric': 'taylor', "),
        (
            {"stop_when": {"metric": "tailor"}},
            "stop_when: 'tailor' is not one of the metrics; did you",
        ),
        ({"stop_when": {"metric": "taylor", "tops": 0.1}}, "stop_when.tops"),
        ({"stop_when": {"metric": "taylor", "top": 2}}, "stop_when.top"),
        ({"classes": 1}, "classes: expected a whole number of at least 2, got 1"),
        ({"loss": lambda out, batch: out.mean()}, "shape (40,): use reduction='none'"),
        ({"loss": lambda out, batch: None}, "the loss returned NoneType; it must return one"),
        ({"loss": lambda out, batch: out.detach().sum(1)}, "the loss has no gradient"),
    ],
)
def test_wrong_arguments_are_told_in_words(model, arguments, message):
    given = {"model": model, "batches": [(X, Y)], "metrics": ["taylor"], **arguments}
    with pytest.raises(NodelensError) as raised:
        nodelens.score(**given)
    assert message in str(raised.value)


def test_a_model_without_nodes_is_an_error_and_not_an_empty_result():
    with pytest.raises(ModelError, match="the model has no nodes that can be scored"):
        nodelens.score(nn.Sequential(nn.ReLU()), [X], metrics=["activation_rms"])


def test_scoring_works_inside_inference_mode(model):
    with torch.inference_mode():
        scores = nodelens.score(model, [(X.clone(), Y.clone())], metrics=["taylor"])
    assert scores["taylor", "0:neurons"].values.shape == (7,)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_model_is_scored_as_the_module_that_it_wraps(model):
    compiled = torch.compile(model)
    one, other = (nodelens.score(m, [(X, Y)], metrics=["taylor"]) for m in (model, compiled))
    np.testing.assert_array_equal(
        one["taylor", "0:neurons"].values, other["taylor", "0:neurons"].values
    )


def test_a_metric_that_failed_says_so_when_its_scores_are_read(model):
    class Broken:
        """Fails."""

        info = MetricInfo(formula="x", unit="1", higher_is_better=True, source="test")
        statistics = ()

        def score(self, group):
            raise ZeroDivisionError("on purpose")

    scores = nodelens.score(model, [X], metrics=[Broken()])
    with pytest.raises(UnknownNameError, match="metric 'Broken' failed: 0:neurons: ZeroDivision"):
        scores["Broken", "0:neurons"]


def test_a_metric_whose_info_is_no_record_is_refused(model):
    class Mapping:
        """Says what it is in a mapping."""

        info, statistics = {"unit": "1"}, ()

        def score(self, group):
            return torch.zeros(group.width)

    with pytest.raises(PluginError, match=r"Mapping\.info is {'unit': '1'}, not a MetricInfo"):
        nodelens.score(model, [X], metrics=[Mapping()])


def test_a_metric_of_an_earlier_contract_is_told_the_new_names(model):
    class Older:
        """Has what is called otherwise."""

        better, unit = "high", "1"

        def needs(self):
            return ()

        def score(self, group):
            return torch.zeros(group.width)

    message = r"lacks info \(in place of better, unit\), statistics \(in place of needs\)"
    with pytest.raises(PluginError, match=message):
        nodelens.score(model, [X], metrics=[Older()])


def many(rows=512, size=16):
    random = torch.Generator().manual_seed(3)
    x, y = torch.randn(rows, 5, generator=random), torch.randint(0, 3, (rows,), generator=random)
    return list(zip(x.split(size), y.split(size), strict=True))


def test_scoring_stops_once_the_top_is_stable_and_says_after_how_many_samples(model, caplog):
    caplog.set_level("INFO")
    stop_when = {"metric": "activation_rms", "top": 0.5, "min_overlap": 0.5}
    scores = nodelens.score(
        model, many(), ["activation_rms", "taylor"], folds=4, stop_when=stop_when
    )
    assert 32 <= scores.samples < 512
    assert f"the top by activation_rms was stable after {scores.samples} samples" in caplog.text
    part = nodelens.score(model, many()[: scores.samples // 16], ["taylor"], folds=4)
    np.testing.assert_array_equal(
        scores["taylor", "0:neurons"].values, part["taylor", "0:neurons"].values
    )


def test_samples_that_are_not_enough_are_told(model, caplog):
    stop_when = {"metric": "first_order", "top": 0.4, "min_overlap": 1.0}
    scores = nodelens.score(model, many(48), ["first_order"], folds=4, stop_when=stop_when)
    assert scores.samples == 48
    assert "the top by first_order was not stable after 48 samples" in caplog.text


def test_a_rule_that_cannot_be_judged_is_refused(model):
    stop_when = {"metric": "weight_l2"}
    with pytest.raises(
        ConfigError, match="stop_when: 'weight_l2' reads no data, so that it is stable"
    ):
        nodelens.score(model, many(), ["weight_l2"], stop_when=stop_when)


def test_pairs_of_nodes_from_a_share_of_the_positions(model):
    metrics = ["eigen_share", "activation_rms"]
    whole, part = (
        nodelens.score(model, many(), metrics, position_fraction=each) for each in (1.0, 0.25)
    )
    one, other = (scores["eigen_share", "0:neurons"] for scores in (whole, part))
    assert (one.values != other.values).all()
    assert 1.0 < np.median(other.se / one.se) < 4.0
    assert (np.abs(other.values - one.values) < 5.0 * other.se).all()
    np.testing.assert_array_equal(
        *(scores["activation_rms", "0:neurons"].values for scores in (whole, part))
    )

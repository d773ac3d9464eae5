"""Runs and scores by other losses than cross-entropy: used in every stage, and said in words."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import nodelens
from nodelens.errors import ConfigError, DataError, ModelError, NodelensError

G = torch.Generator().manual_seed(0)
X = torch.randn(120, 6, generator=G)
WEIGHTS = torch.randn(6, 2, generator=G)
NUMBERS = X @ WEIGHTS + 0.1 * torch.randn(120, 2, generator=G)
YES = (NUMBERS > 0).float()
CLASSES = NUMBERS.argmax(1)
MODEL = {"name": "mlp", "hidden": [8]}


def saved(tmp_path, targets, **options):
    tmp_path.mkdir(exist_ok=True)
    path = tmp_path / "data.npz"
    np.savez(path, inputs=X.numpy(), targets=targets)
    return {"name": "arrays", "path": str(path), "batch_size": 32, **options}


def ran(tmp_path, targets, data=None, **config):
    settings = {
        "model": MODEL,
        "training": {"epochs": 4, "learning_rate": 0.02, "patience": 3},
        "metrics": ["taylor", "weight_l2"],
        "capture": {"samples": 64, "folds": 4},
        "output": str(tmp_path / "outputs"),
        "reports": ["html"],
    } | config
    settings["data"] = saved(tmp_path, targets, **(data or {}))
    return nodelens.run(settings)


def finding(folder, kind):
    return next(each for each in folder.findings() if each.kind == kind)


@pytest.fixture(scope="module")
def regression(tmp_path_factory):
    return ran(
        tmp_path_factory.mktemp("regression"),
        NUMBERS.numpy(),
        {"numbers": True},
        loss="mse",
        interventions=["oracle", {"name": "ablation", "fractions": [0.3, 0.6]}],
        pruning={"name": "taylor", "sparsity": 0.5},
        recovery={"name": "fine_tune", "steps": 4},
    )


def test_a_regression_runs_through_every_stage(regression):
    record = regression.record()
    assert record.status == "finished"
    assert (record.loss.name, record.loss.unit) == ("mse", "squared units of the targets")
    assert record.components["loss"] == {"mse": "nodelens-core"}
    summary = record.summary
    assert 0 < summary["test_R²"] < 1
    assert summary["test_MAE_se"] > 0
    assert "test_accuracy" not in summary
    training = finding(regression, "training")
    losses = [each["validation_loss"] for each in training.data["epochs"]]
    assert training.data["chosen"] == 1 + int(np.argmin(losses))
    assert "validation R²" in training.tables[0].columns
    for kind in ("training", "evaluation", "intervention", "pruning", "recovery"):
        text = " ".join(finding(regression, kind).headline)
        assert "nats" not in text
        assert "accuracy" not in text
    assert "R²" in " ".join(finding(regression, "pruning").headline)
    assert "R²" in " ".join(finding(regression, "recovery").headline)


def test_every_stage_of_a_regression_measures_the_same_loss(regression):
    """The evaluation, and the loss at no ablation in the curves, are the mean squared error."""
    evaluation = finding(regression, "evaluation").data
    curves = next(each for each in regression.findings() if each.name == "ablation")
    assert curves.data["loss"] == evaluation["loss"]
    assert evaluation["loss"] == pytest.approx(regression.record().summary["test_loss"])
    pruned = finding(regression, "pruning").data
    assert pruned["loss"][0] == evaluation["loss"]
    assert set(evaluation["measures"]) == {"R²", "MAE"}
    recovered = finding(regression, "recovery").data
    assert recovered["loss"][0] == evaluation["loss"]
    assert recovered["steps"]["loss"][0] > 0


def test_several_labels_of_a_row_report_accuracy_and_f1(tmp_path):
    folder = ran(tmp_path, YES.numpy(), {"numbers": True}, loss="bce", metrics=["true_fisher"])
    summary = folder.record().summary
    assert 0.5 < summary["test_accuracy"] <= 1
    assert 0 < summary["test_F1"] <= 1
    scores = np.loadtxt(folder.file("scores.csv"), delimiter=",", skiprows=1, usecols=3, ndmin=1)
    assert (scores >= 0).all()


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        ({}, DataError, "the targets of the data are numbers.*set loss: mse for numbers"),
        ({"loss": "mse", "metrics": ["true_fisher"]}, ConfigError, "true_fisher draws labels from"),
        (
            {"loss": "mse", "metrics": ["class_selectivity"]},
            ConfigError,
            "class_selectivity compares classes, and mse is no loss of classes",
        ),
        (
            {"loss": "mse", "training": {"label_smoothing": 0.1}},
            DataError,
            "training.label_smoothing: mse has none",
        ),
        (
            {
                "loss": "mse",
                "pruning": "taylor",
                "recovery": {"name": "fine_tune", "distillation": {}},
            },
            ModelError,
            "distillation compares predictions of classes, and mse is no loss of classes",
        ),
        (
            {"loss": {"name": "import", "path": "json:dumps"}},
            ModelError,
            "loss.path 'json:dumps' runs code of module 'json', which is not allowed",
        ),
        ({"target": {"name": "class_logit", "index": "cat"}, "loss": "mse"}, ConfigError, "'cat'"),
    ],
)
def test_what_a_loss_rules_out_is_said(tmp_path, more, error, message):
    with pytest.raises(error, match=message):
        ran(tmp_path, NUMBERS.numpy(), {"numbers": True}, **more)


def test_patterns_leave_out_what_a_loss_rules_out(tmp_path):
    metrics = ["true_*", "class_*", "taylor"]
    folder = ran(tmp_path, NUMBERS.numpy(), {"numbers": True}, loss="mse", metrics=metrics)
    plan = str(folder.record())
    assert "draws labels from the model, and mse is no distribution over labels" in plan


def test_a_loss_of_ones_own_in_a_config(tmp_path):
    path = "tests.core.losses.own_function:squares"
    settings = {
        "model": MODEL,
        "data": saved(tmp_path, CLASSES.numpy()),
        "loss": {"name": "import", "path": path},
        "metrics": ["taylor"],
        "capture": {"samples": 64, "folds": 4},
        "output": str(tmp_path / "outputs"),
        "reports": [],
    }
    folder = nodelens.run(settings, allow_import=["tests.core.losses"])
    assert folder.record().loss.name == "import"
    with pytest.raises(ModelError, match="pass --allow-import"):
        nodelens.run(settings)


def test_text_labels_are_sorted_where_the_run_trains_and_written_down(tmp_path):
    names = np.array(["zebra", "ant"])[CLASSES.numpy()]
    folder = ran(tmp_path, names)
    assert folder.record().classes == ("ant", "zebra")
    named = ran(tmp_path, names, {"class_names": ["zebra", "ant"]})
    assert named.record().classes == ("zebra", "ant")


def test_text_labels_of_a_trained_model_need_an_order(tmp_path):
    names = np.array(["zebra", "ant"])[CLASSES.numpy()]
    model = {"name": "import", "path": "tests.core.losses.own_function:net", "pretrained": True}
    config = {
        "model": model,
        "data": saved(tmp_path, names),
        "metrics": ["taylor"],
        "output": str(tmp_path / "outputs"),
        "capture": {"samples": 64, "folds": 4},
        "reports": [],
    }
    with pytest.raises(DataError, match=r"set data\.class_names: \[…\], in the order of its"):
        nodelens.run(config, allow_import=["tests.core.losses"])
    config["data"]["class_names"] = ["zebra", "ant"]
    folder = nodelens.run(config, allow_import=["tests.core.losses"])
    assert folder.record().classes == ("zebra", "ant")
    config["data"]["class_names"] = ["zebra", "aunt"]
    with pytest.raises(DataError, match=r"label 'ant' is not among .*did you mean 'aunt'"):
        nodelens.run(config, allow_import=["tests.core.losses"])


def test_labels_of_one_class_are_warned_of_in_a_run(tmp_path):
    labels = np.array(["one"] * 116 + ["two"] * 4)
    capture = {"samples": 4, "folds": 4}
    folder = ran(tmp_path, labels, training=None, capture=capture)
    assert "all calibration labels are of class one" in str(folder.record().warnings)


def net(outputs=2):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, outputs))


def by_hand(model, losses):
    """Return the mean squared change of the summed losses, by zeroing a node, to first order."""
    hidden = model[1](model[0](X)).detach().requires_grad_()
    losses(model[2](hidden)).sum().backward()
    return (hidden * hidden.grad).square().mean(0).detach().numpy()


@pytest.mark.parametrize(
    ("loss", "targets", "losses"),
    [
        ("mse", NUMBERS, lambda z: (z - NUMBERS).square().sum(1)),
        ("bce", YES, lambda z: F.binary_cross_entropy_with_logits(z, YES, reduction="none").sum(1)),
        ("cross_entropy", CLASSES, lambda z: F.cross_entropy(z, CLASSES, reduction="none")),
    ],
)
def test_scores_are_of_the_named_loss(loss, targets, losses):
    scores = nodelens.score(net(), [(X, targets)], ["taylor"], folds=4, loss=loss)
    expected = by_hand(net(), losses)
    np.testing.assert_allclose(scores["taylor", "0:neurons"].values, expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("target", "losses"),
    [
        (1, lambda z: z[:, 1]),
        ("b", lambda z: z[:, 1]),
        ({"name": "class_logit", "index": 0}, lambda z: z[:, 0]),
        ({"name": "logit_difference", "of": "b", "against": 0}, lambda z: z[:, 1] - z[:, 0]),
        (lambda output, batch: output[:, 1] ** 2, lambda z: z[:, 1] ** 2),
    ],
)
def test_nodes_are_scored_for_a_target_without_labels(target, losses):
    options = {"folds": 4, "target": target, "class_names": ["a", "b"]}
    scores = nodelens.score(net(), [X], ["taylor", "first_order"], **options)
    np.testing.assert_allclose(
        scores["taylor", "0:neurons"].values, by_hand(net(), losses), rtol=1e-4
    )
    hidden = net()[1](net()[0](X)).detach().requires_grad_()
    losses(net()[2](hidden)).sum().backward()
    fall = (hidden * hidden.grad).mean(0).detach().numpy()
    np.testing.assert_allclose(
        scores["first_order", "0:neurons"].values, fall, rtol=1e-4, atol=1e-7
    )


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.up, self.down = nn.Embedding(9, 5), nn.Linear(5, 6), nn.Linear(6, 9)

    def forward(self, input_ids, attention_mask=None):
        return self.down(torch.relu(self.up(self.embed(input_ids))))


def test_a_token_is_scored_at_the_last_position_that_is_no_padding():
    ids = torch.randint(0, 9, (4, 5), generator=G)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [0, 0, 1, 1, 1], [1, 0, 0, 0, 0]])
    batch = {"input_ids": ids, "attention_mask": mask}
    target = {"name": "token_logit", "token": 3}
    found = nodelens.score(Tokens(), [batch], ["taylor"], folds=2, target=target)
    model, last = Tokens(), torch.tensor([2, 4, 4, 0])
    chosen = ids[torch.arange(4), last]
    hidden = torch.relu(model.up(model.embed(chosen))).detach().requires_grad_()
    model.down(hidden)[:, 3].sum().backward()
    expected = (hidden * hidden.grad).square().mean(0)
    values = found["taylor", "up:neurons"].values
    np.testing.assert_allclose(values, expected.detach().numpy(), rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (7, "there is no output 7; the model has 2"),
        ("cat", "no class is called 'cat'; no names are known: give its number"),
        ({"name": "token_logit"}, "the key 'token' is missing"),
        ({"index": 1}, "target: {'index': 1} has no name"),
        (1.5, "target: expected a name, a mapping"),
    ],
)
def test_wrong_targets_are_told(target, message):
    with pytest.raises(NodelensError, match=message):
        nodelens.score(net(), [X], ["taylor"], folds=2, target=target)


def test_a_target_leaves_the_loss_to_everything_but_scores(tmp_path):
    target = {"name": "class_logit", "index": 1}
    plain = ran(tmp_path / "a", CLASSES.numpy())
    aimed = ran(tmp_path / "b", CLASSES.numpy(), target=target)
    one, other = (each.record() for each in (plain, aimed))
    assert one.summary["test_loss"] == other.summary["test_loss"]
    assert (other.target.name, other.target.unit) == ("class_logit", "logits")
    assert "calibration_target" in other.summary
    assert "calibration_loss" not in other.summary
    assert plain.file("scores.csv").read_text() != aimed.file("scores.csv").read_text()


def test_metrics_that_need_a_distribution_are_refused_under_a_function():
    def loss(output, batch):
        return output.square().sum(1)

    for name in ("true_fisher", "task_information", "class_selectivity"):
        with pytest.raises(DataError, match="the function given as loss"):
            nodelens.score(net(), [(X, CLASSES)], [name], folds=2, loss=loss)
    scores = nodelens.score(
        net(), [(X, CLASSES)], ["class_selectivity"], folds=2, loss=loss, classes=2
    )
    assert len(scores)


def test_r2_and_mae_are_those_of_their_definitions():
    from nodelens.data.splits import batches
    from nodelens.interfaces.dataset import Samples
    from nodelens.interfaces.loss import RowLoss
    from nodelens.losses.regression import MSE
    from nodelens.training.model_evaluation import evaluate

    model = net()
    found = evaluate(model, batches(Samples(X, NUMBERS), 32, RowLoss(MSE(), "mse")))
    with torch.no_grad():
        output = model(X)
    error = (output - NUMBERS).square().sum()
    r2 = 1 - error / (NUMBERS - NUMBERS.mean()).square().sum()
    assert found.measures["R²"].value == pytest.approx(float(r2), rel=1e-5)
    assert found.measures["MAE"].value == pytest.approx(float((output - NUMBERS).abs().mean()))
    assert found.loss == pytest.approx(float(F.mse_loss(output, NUMBERS)))
    rows = (output - NUMBERS).abs().mean(1).double().numpy()
    assert found.measures["MAE"].se == pytest.approx(rows.std(ddof=1) / 120**0.5, rel=1e-6)


class Recogniser(nn.Module):
    """Logits of 4 symbols at each of 9 steps, the first of which is CTC's blank."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.up, self.down = nn.Linear(3, 6), nn.Linear(6, 4)

    def forward(self, x):
        return self.down(torch.relu(self.up(x)))


def test_losses_of_sequences_and_of_pairs_of_rows_are_functions():
    """CTC of labels that belong to no position, and a contrastive loss of the rows of a batch."""
    x, y = torch.randn(8, 9, 3, generator=G), torch.randint(1, 4, (8, 3), generator=G)

    def ctc(output, batch):
        log_p, rows = output.log_softmax(-1).transpose(0, 1), len(output)
        steps, lengths = torch.full((rows,), 9), torch.full((rows,), 3)
        return F.ctc_loss(log_p, batch.targets, steps, lengths, reduction="none")

    def contrastive(output, batch):
        views = F.normalize(output.mean(1), dim=-1).view(-1, 2, 4).transpose(0, 1)
        similar = views[0] @ views[1].mT
        losses = F.cross_entropy(similar, torch.arange(len(similar)), reduction="none")
        return losses.repeat_interleave(2) / 2

    for loss, batches in ((ctc, [(x, y)]), (contrastive, [x])):
        scores = nodelens.score(Recogniser(), batches, ["first_order"], folds=2, loss=loss)
        model = Recogniser()
        hidden = torch.relu(model.up(x)).detach().requires_grad_()
        from nodelens.capture.batches import Batch

        loss(model.down(hidden), Batch((x,), targets=y)).sum().backward()
        expected = -(hidden * hidden.grad).sum(1).mean(0).detach().numpy()
        values = scores["first_order", "up:neurons"].values
        np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-7)


def test_pixels_are_classified_by_torchs_own_axis():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(), nn.Conv2d(5, 4, 1))
    x, y = torch.randn(6, 3, 5, 7), torch.randint(0, 4, (6, 5, 7))
    y[0, 0] = -100
    scores = nodelens.score(model, [(x, y)], ["first_order"], folds=2)
    hidden = model[1](model[0](x)).detach().requires_grad_()
    F.cross_entropy(model[2](hidden), y, reduction="sum").backward()
    expected = -(hidden * hidden.grad).flatten(2).sum(2).mean(0).detach().numpy()
    values = scores["first_order", "0:channels"].values
    np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-7)

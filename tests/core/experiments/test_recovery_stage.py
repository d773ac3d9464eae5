"""Recovery as a stage of a run."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from attrs import evolve
from safetensors.torch import load_file
from torch import nn

import nodelens
from nodelens.capture.batches import Batch
from nodelens.config.schema import Component, DataSettings
from nodelens.data.digits import Digits
from nodelens.data.splits import batches, split
from nodelens.errors import ConfigError, DataError
from nodelens.graph import infer
from nodelens.interfaces.backend import ModelRequest
from nodelens.interfaces.pruner import PruningPlan
from nodelens.interfaces.recovery import Recovered, RecoveryStep
from nodelens.models.mlp import MLP
from nodelens.pruning.apply import AppliedPlan
from nodelens.recovery.recovery_finding import recovered_finding
from nodelens.recovery.recovery_training import RecoveryTraining, obstacle
from nodelens.storage.run_folder import RunFolder
from nodelens.training.model_evaluation import EvaluationResult, evaluate

BASE = {
    "name": "small",
    "threads": 1,
    "model": {"name": "mlp", "hidden": [12, 8]},
    "data": {"name": "digits", "flat": True, "subset": 400, "batch_size": 32},
    "training": {"epochs": 6, "learning_rate": 0.01},
    "capture": {"samples": 64, "folds": 4},
    "pruning": [{"name": "magnitude", "sparsity": 0.5}, {"name": "random", "sparsity": 0.5}],
    "recovery": [
        {"name": "fine_tune", "steps": 40, "learning_rate": 0.01},
        {
            "name": "fine_tune",
            "label": "distilled",
            "steps": 40,
            "learning_rate": 0.01,
            "distillation": {"weight": 0.5},
        },
    ],
}
NAMES = [
    f"{method}.{label}"
    for method in ("magnitude", "random")
    for label in ("fine_tune", "distilled")
]


class StopError(Exception):
    """Ends a run where a kill would."""


def config(folder: Path, **changes) -> dict:
    return {**BASE, "reports": [], "output": str(folder), **changes}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> RunFolder:
    """A run that was never stopped."""
    return nodelens.run(config(tmp_path_factory.mktemp("whole"), reports=["html"]))


def finding(run: RunFolder, name: str) -> dict:
    return json.loads(run.read_text(f"findings/{name}.json"))


def recovered_weights(run: RunFolder, name: str) -> Path:
    method, label = name.split(".")
    return run.file(f"pruned/{method}/recovered/{label}/weights.safetensors")


def test_every_pruned_model_is_trained_by_every_recovery(whole):
    found = [each.name for each in whole.findings() if each.kind == "recovery"]
    assert found == NAMES
    stages = list(whole.record().stages)
    assert stages[-6:] == [
        "pruning.magnitude",
        "recovery.magnitude.fine_tune",
        "recovery.magnitude.distilled",
        "pruning.random",
        "recovery.random.fine_tune",
        "recovery.random.distilled",
    ]
    assert whole.record().components["recovery"] == {"fine_tune": "nodelens-core"}


@pytest.mark.parametrize("name", NAMES)
def test_the_finding_says_what_was_measured_before_and_after(whole, name):
    pruned = finding(whole, f"pruning.{name.split('.')[0]}")["data"]
    dense = finding(whole, "evaluation.test")["data"]
    found = finding(whole, f"recovery.{name}")
    rows = {row[0]: row[1:] for row in found["tables"][0]["rows"]}
    assert rows["dense"][:4] == [
        dense[key] for key in ("loss", "loss_se", "accuracy", "accuracy_se")
    ]
    assert [rows["pruned"][0], rows["pruned"][2]] == [pruned["loss"][1], pruned["accuracy"][1]]
    assert rows["pruned"][4:] == pruned["loss_change"]
    assert rows["recovered"][0] < rows["pruned"][0]
    assert found["data"]["loss"] == [rows[model][0] for model in ("dense", "pruned", "recovered")]
    assert found["data"]["accuracy_se"] == [row[3] for row in rows.values()]
    assert len(found["data"]["steps"]["loss"]) == 40
    assert "nats that pruning has added" in found["headline"][1]


def test_the_curve_has_what_was_learned(whole):
    alone, both = (finding(whole, f"recovery.{name}")["plots"][0] for name in NAMES[:2])
    levels = ["dense, test", "pruned, test"]
    assert [line["label"] for line in alone["lines"]] == ["labels", *levels]
    assert [line["label"] for line in both["lines"]] == ["labels", "divergence from dense", *levels]
    assert whole.file("figures/recovery.magnitude.fine_tune.loss.svg").is_file()
    page = whole.read_text("report.html")
    assert "Recovery: magnitude, distilled" in page
    assert "accuracy ± se" in page


@pytest.mark.parametrize("name", NAMES)
def test_the_weights_are_those_that_were_measured(whole, name):
    state = load_file(recovered_weights(whole, name))
    before = load_file(whole.file(f"pruned/{name.split('.')[0]}/weights.safetensors"))
    assert {key: value.shape for key, value in state.items()} == {
        key: value.shape for key, value in before.items()
    }
    assert not all(torch.equal(before[key], value) for key, value in state.items())
    widths = [len(state[f"hidden.{layer}.linear.bias"]) for layer in (0, 1)]
    model = network(widths, state)
    measured = finding(whole, f"recovery.{name}")["data"]["loss"][2]
    assert evaluate(model, held_out()).loss == pytest.approx(measured, rel=1e-6)


def network(widths: Sequence[int], state: dict[str, torch.Tensor]) -> nn.Module:
    model = MLP(hidden=tuple(widths)).build(ModelRequest((64,), 10, 0)).module
    model.load_state_dict(state)
    return model


def held_out() -> list[Batch]:
    settings = DataSettings(Component("digits"), batch_size=32, subset=400)
    return batches(split(Digits(flat=True).load(), settings, 0).test, 32)


def test_two_runs_give_the_same_bits(whole, tmp_path):
    again = nodelens.run(config(tmp_path))
    for name in NAMES:
        one, other = (recovered_weights(run, name).read_bytes() for run in (whole, again))
        assert one == other


@pytest.mark.parametrize("calls", [0, 2])
def test_a_run_that_was_stopped_in_a_recovery_does_that_again(whole, tmp_path, monkeypatch, calls):
    from nodelens.experiments import recovery_stage

    real, count = recovery_stage.recover_and_evaluate, []

    def stop(*args: object) -> object:
        if len(count) == calls:
            raise StopError
        count.append(1)
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(recovery_stage, "recover_and_evaluate", stop)
        with pytest.raises(StopError):
            nodelens.run(config(tmp_path))
    (path,) = (tmp_path / "small").iterdir()
    (path / "pruned" / "magnitude" / "recovered").mkdir(exist_ok=True)
    resumed = nodelens.run(resume=path)
    (entry,) = resumed.record().resumed
    assert "pruning.magnitude" in entry.kept
    assert resumed.check_manifest() == []
    for name in NAMES:
        one, other = (recovered_weights(run, name).read_bytes() for run in (whole, resumed))
        assert one == other
        one, other = (finding(run, f"recovery.{name}") for run in (whole, resumed))
        assert one == other


def test_a_recovered_model_that_is_not_whole_is_made_again(whole, tmp_path, monkeypatch):
    from nodelens.experiments import stages

    def stop(*args: object) -> None:
        raise StopError

    with monkeypatch.context() as patch:
        patch.setattr(stages, "write_reports", stop)
        with pytest.raises(StopError):
            nodelens.run(config(tmp_path))
    (path,) = (tmp_path / "small").iterdir()
    broken = recovered_weights(RunFolder.open(path), NAMES[1])
    broken.write_bytes(broken.read_bytes()[:-9])
    resumed = nodelens.run(resume=path)
    assert resumed.record().resumed[0].kept[-1] == f"recovery.{NAMES[0]}"
    assert broken.read_bytes() == recovered_weights(whole, NAMES[1]).read_bytes()


def test_a_recovery_of_nothing_is_a_mistake(tmp_path):
    with pytest.raises(ConfigError, match="recovery: there is no pruned model to recover"):
        nodelens.run(config(tmp_path, pruning=[]))


def test_results_of_one_name_are_a_mistake(tmp_path):
    changes = {
        "pruning": [
            {"name": "random", "label": "a"},
            {"name": "random", "label": "a.b", "sparsity": 0.25},
        ],
        "recovery": [
            {"name": "fine_tune", "label": "b.c"},
            {"name": "fine_tune", "label": "c", "steps": 3},
        ],
    }
    with pytest.raises(ConfigError, match=r"two results would be called 'a\.b\.c'"):
        nodelens.run(config(tmp_path, **changes))
    assert not (tmp_path / "small").exists()


def test_what_cannot_work_is_said_before_anything_is_done(tmp_path):
    changes = {
        "model": {"name": "cnn", "channels": [4, 4]},
        "data": {"name": "digits", "subset": 200},
        "recovery": {"name": "fine_tune", "batch_size": 1},
    }
    with pytest.raises(DataError, match="recovery: the model has batch normalisation"):
        nodelens.run(config(tmp_path, **changes))
    (path,) = (tmp_path / "small").iterdir()
    assert list(RunFolder.open(path).record().stages) == ["model"]


def test_a_model_whose_nodes_are_masked_is_trained_under_the_masks(tmp_path, monkeypatch):
    from nodelens.pruning import apply

    def refuse(model, graph, keep, *args, **kwargs):
        removed = real(model, graph, {}, *args, **kwargs)
        return evolve(removed, refused=dict.fromkeys(keep, "they are glued"))

    real = apply.remove
    monkeypatch.setattr(apply, "remove", refuse)
    changes = {
        "pruning": {"name": "magnitude", "sparsity": 0.5},
        "recovery": {"name": "fine_tune", "steps": 40, "learning_rate": 0.01},
    }
    run = nodelens.run(config(tmp_path, **changes))
    kept = finding(run, "pruning.magnitude")["data"]["kept"]
    found = finding(run, "recovery.magnitude.fine_tune")["data"]
    assert found["loss"][2] < found["loss"][1]
    model = network((12, 8), load_file(recovered_weights(run, "magnitude.fine_tune")))
    test = held_out()
    graph = infer(model, *test[0].args)
    with graph.mask(model, kept):
        assert evaluate(model, test).loss == pytest.approx(found["loss"][2], rel=1e-6)
    assert evaluate(model, test).loss != pytest.approx(found["loss"][2], rel=1e-3)


class Attention(nn.Module):
    """Uses its own weights, so that masks act below autograd."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.attention(x, x, x, need_weights=False)[0].mean(1))


def test_masks_that_no_gradient_passes_are_a_reason():
    model = Attention().eval()
    graph = infer(model, torch.randn(2, 5, 8))
    plan = PruningPlan({group.name: (0,) for group in graph if group.prunable})
    operand = [
        group.name
        for group in graph
        if any(site.end == "operand" and site.point == "activation" for site in group.sites)
    ]
    assert operand
    evaluation = some_evaluation(1.0)
    carried = AppliedPlan(evaluation, model, graph, plan, None, None, {operand[0]: "glued"})
    assert f"the nodes of {operand[0]} are only masked" in obstacle(carried)
    assert obstacle(AppliedPlan(evaluation, model, graph, plan, None, None)) is None


def some_evaluation(loss: float) -> EvaluationResult:
    import numpy as np

    spread = np.array([-0.01, 0.01, 0.02, -0.02])
    right = np.array([True, False, True, True])
    return EvaluationResult(loss + spread, np.ones(4, dtype=int), right, np.zeros(4, dtype=int))


def recovering(dense: float, pruned: float, after: float, steps: int = 3) -> RecoveryTraining:
    history = tuple(RecoveryStep(1.0 / step, 1.0 / step, None, 0.1) for step in range(1, steps + 1))
    values = (some_evaluation(loss) for loss in (dense, pruned, after))
    return RecoveryTraining(Recovered(history, 10, 20, 5), *values)


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        ((1.0, 3.0, 1.5), "of the 2.0000 ± 0.0000 nats that pruning has added, 75 % are undone"),
        ((1.0, 3.0, 0.5), "the 2.0000 ± 0.0000 nats that pruning has added are undone, and 0.5000"),
    ],
)
def test_the_share_of_the_damage_that_is_undone(losses, said):
    found = recovered_finding("taylor", "fine_tune", recovering(*losses))
    assert found.headline[1].startswith(said)
    assert found.warnings == ()


def test_a_loss_that_rises_is_a_warning():
    found = recovered_finding("taylor", "fine_tune", recovering(1.0, 2.0, 2.5))
    assert len(found.headline) == 1
    assert found.warnings[0].startswith("the loss on the test samples has risen by 0.5000")


def test_a_long_curve_is_drawn_by_means():
    found = recovered_finding("taylor", "fine_tune", recovering(1.0, 2.0, 1.5, steps=130))
    line = found.plots[0].lines[0]
    assert len(line.x) == 44
    assert line.x[:2] == (2.0, 5.0)
    assert line.x[-1] == 130.0
    assert line.y[0] == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)
    assert math.isclose(line.y[-1], 1 / 130)
    assert "Each point is the mean of 3 steps." in found.plots[0].note

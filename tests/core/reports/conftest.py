"""A run folder such as a real run leaves, made up of plausible numbers."""

from __future__ import annotations

import numpy as np
import pytest

from nodelens.channels.graph_record import write_graph
from nodelens.channels.groups import ChannelGraph, ChannelGroup
from nodelens.findings.finding import (
    Bars,
    Finding,
    Heatmap,
    Line,
    LinePlot,
    ScatterPlot,
    Series,
    Table,
)
from nodelens.scoring.scores import Score, Scores
from nodelens.storage.run_folder import RunFolder

METRICS = (
    "activation_rms",
    "activation_mean",
    "weight_norm",
    "fan_out_norm",
    "rayleigh_quotient",
    "alignment",
    "taylor",
    "fisher",
    "redundancy",
    "node_information",
)
GROUPS = {"features.0:channels": 16, "features.3:channels": 32, "classifier.1:neurons": 64}
FRACTIONS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_GENERATOR_SEED = 7


def training() -> Finding:
    epochs = tuple(float(epoch) for epoch in range(1, 11))
    loss = tuple(2.2 * 0.62**epoch + 0.05 for epoch in epochs)
    held_out = tuple(2.2 * 0.64**epoch + 0.09 + 0.002 * epoch for epoch in epochs)
    plot = LinePlot(
        "loss",
        "Loss while training",
        "epoch",
        "cross-entropy (nats)",
        (Line("training", epochs, loss), Line("validation", epochs, held_out, style="dashed")),
        note="The weights of epoch 9 were kept: the lowest validation loss.",
    )
    return Finding(
        "training",
        "train",
        "Training",
        headline=("The model was trained for 10 epochs; epoch 9 was kept.",),
        plots=(plot,),
        data={"epochs": 10, "best_epoch": 9},
    )


def evaluation() -> Finding:
    rng = np.random.default_rng(_GENERATOR_SEED)
    rows = tuple(
        (
            str(digit),
            int(rng.integers(30, 42)),
            float(1 - rng.random() / 15),
            float(0.01 + rng.random() / 60),
            float(rng.random() / 6),
        )
        for digit in range(10)
    )
    columns = ("class", "samples", "accuracy", "accuracy se", "loss")
    table = Table("classes", "Accuracy by class", columns, rows, "On the test split.")
    return Finding(
        "evaluation",
        "test",
        "Evaluation",
        headline=("The model classifies 97.2 % of 360 test samples correctly (± 0.9 %).",),
        tables=(table,),
        data={"accuracy": 0.9722, "accuracy_se": 0.0087, "loss": 0.10312, "loss_se": 0.0213},
    )


def agreement() -> Finding:
    rng = np.random.default_rng(_GENERATOR_SEED)
    latent = rng.normal(size=(len(METRICS), 3)) + np.array([1.0, 0.0, 0.0])
    unit = latent / np.linalg.norm(latent, axis=1, keepdims=True)
    values = [[float(value) for value in row] for row in unit @ unit.T]
    values[4][7] = values[7][4] = None
    heatmap = Heatmap(
        "agreement",
        "Rank agreement of the metrics (Spearman), mean over the groups",
        METRICS,
        METRICS,
        tuple(tuple(row) for row in values),
        note="Hatched: no common group.",
        limits=(-1.0, 1.0),
    )
    return Finding(
        "analysis",
        "agreement",
        "Agreement of the metrics",
        headline=("taylor and fisher rank nodes most alike (Spearman 0.94).",),
        plots=(heatmap,),
        tables=(
            Table(
                "pairs",
                "All pairs",
                ("first", "second", "spearman", "spearman_se"),
                tuple(
                    (a, b, values[i][j], 0.03 + 0.001 * j)
                    for i, a in enumerate(METRICS)
                    for j, b in enumerate(METRICS)
                    if i < j
                ),
            ),
        ),
    )


def ablation() -> Finding:
    x = np.array(FRACTIONS)
    lines = []
    for number, metric in enumerate(("taylor", "activation_rms", "rayleigh_quotient")):
        least = 0.1 + 2.1 * x ** (4.2 - number)
        most = 0.1 + 2.3 * x ** (0.5 + 0.1 * number)
        for y, style in ((least, "solid"), (most, "dashed")):
            lines.append(Line(metric, FRACTIONS, tuple(y.tolist()), style=style))
    middle = 0.1 + 2.2 * x**1.4
    spread = 0.35 * x * (1.2 - x)
    lines.append(
        Line(
            "random, 5 draws",
            FRACTIONS,
            tuple(middle.tolist()),
            tuple((middle - spread).tolist()),
            tuple((middle + spread).tolist()),
            "dotted",
        )
    )
    plot = LinePlot(
        "curves",
        "Test loss when nodes are removed",
        "fraction of nodes removed",
        "loss (nats)",
        tuple(lines),
        note="Solid: the least important nodes first; dashed: the most important first. "
        "The band holds the random draws.",
    )
    return Finding(
        "intervention",
        "ablation",
        "Ablation curves",
        headline=("Removing the 30 % that taylor ranks lowest raises the loss by 0.012 ± 0.004.",),
        warnings=("3 of 112 nodes have a loss change below two standard errors: unresolved.",),
        plots=(plot,),
    )


def oracle() -> Finding:
    rng = np.random.default_rng(_GENERATOR_SEED)
    series = []
    for group, width in GROUPS.items():
        score = rng.lognormal(-5, 1.2, width)
        change = score * rng.lognormal(0, 0.5, width) - 0.0004
        series.append(
            Series(
                group,
                tuple(score.tolist()),
                tuple(change.tolist()),
                tuple((0.0003 + 0.1 * score).tolist()),
            )
        )
    scatter = ScatterPlot(
        "taylor",
        "Score and true loss change of every node",
        "taylor (nats)",
        "loss change (nats)",
        tuple(series),
        log_x=True,
        log_y=True,
    )
    bars = Bars(
        "rank",
        "How well each metric predicts the loss change",
        "Spearman correlation with the loss change",
        METRICS,
        tuple(float(v) for v in np.linspace(0.9, -0.15, len(METRICS))),
        tuple(float(v) - 0.05 for v in np.linspace(0.9, -0.15, len(METRICS))),
        tuple(float(v) + 0.03 for v in np.linspace(0.9, -0.15, len(METRICS))),
    )
    return Finding(
        "intervention",
        "oracle",
        "Single nodes",
        headline=("taylor predicts the loss change of single nodes best: Spearman 0.90 ± 0.04.",),
        plots=(scatter, bars),
    )


def pruning() -> Finding:
    columns = ("method", "sparsity", "nodes", "parameters", "accuracy", "accuracy_se", "loss")
    rows = (
        ("none", 0.0, 112, 28_938, 0.9722, 0.0087, 0.10312),
        ("taylor", 0.5, 56, 8_122, 0.9583, 0.0105, 0.14),
        ("magnitude", 0.5, 56, 8_340, 0.8611, 0.0182, 0.512),
    )
    return Finding(
        "pruning",
        "comparison",
        "Pruning to half",
        headline=("Pruned to 50 % by taylor, accuracy goes from 0.972 to 0.958 ± 0.011.",),
        tables=(Table("methods", "Methods at 50 % sparsity", columns, rows),),
    )


def findings() -> tuple[Finding, ...]:
    return training(), evaluation(), agreement(), ablation(), oracle(), pruning()


def scores() -> Scores:
    rng = np.random.default_rng(_GENERATOR_SEED)
    table = {}
    for number, metric in enumerate(METRICS):
        for group, width in GROUPS.items():
            values = rng.lognormal(0, 0.8, width) * 10.0 ** (-number % 4 - 1)
            if number % 3 == 2:
                values = rng.normal(size=width)
            table[metric, group] = Score(
                metric,
                group,
                values,
                metric != "redundancy",
                "nats" if number > 6 else "1",
                None if "norm" in metric else np.abs(values) * 0.08 + 0.002,
            )
    skipped = {("conv_rank", "classifier.1:neurons"): "defined for convolutions only"}
    failed = {"synergy": "ValueError: covariance of features.0 is singular"}
    return Scores(table, skipped, failed, 1024)


def write_run(root, name="digits", **record) -> RunFolder:
    run = RunFolder.create(root, name)
    run.write_text("config.yaml", "name: digits\nseed: 0\nmodel: {name: cnn, channels: [16, 32]}\n")
    for finding in findings():
        run.write_finding(finding)
    scores().save(run.file("scores.safetensors"))
    groups = [ChannelGroup(name, name.split(":")[1], width) for name, width in GROUPS.items()]
    groups.append(ChannelGroup("logits", "neurons", 10, frozen="model output"))
    write_graph(run, ChannelGraph(tuple(groups)))
    run.write_json("run.json", run.read_json("run.json") | _record() | record)
    return run


def _record() -> dict:
    return {
        "status": "finished",
        "finished": "2024-05-01T12:00:41+00:00",
        "seconds": 41.3,
        "command": "nodelens run configs/digits.yaml",
        "seed": 0,
        "device": "cpu",
        "versions": {"python": "3.11.9", "torch": "2.6.0", "numpy": "2.1.0"},
        "plugins": [
            {
                "name": "nodelens-metrics:weights",
                "distribution": "nodelens-metrics",
                "version": "0.1.0",
                "status": "loaded",
                "reason": None,
                "offers": {"metric": ["weight_l1"]},
            },
            {
                "name": "nodelens-hf:models",
                "distribution": "nodelens-hf",
                "version": "0.1.0",
                "status": "failed",
                "reason": "No module named 'transformers'",
                "offers": {},
            },
        ],
        "components": {
            "backend": {"cnn": "nodelens-core"},
            "metric": dict.fromkeys(METRICS, "nodelens-metrics"),
        },
        "git": {"commit": "4f2a9c1", "dirty": True},
        "stages": {
            "training": {"seconds": 6.2, "status": "finished", "files": {}},
            "capture": {"seconds": 0.71, "status": "finished"},
        },
        "warnings": ["plugin nodelens-hf could not be loaded"],
        "summary": {
            "accuracy": 0.9722,
            "accuracy_se": 0.0087,
            "loss": 0.10312,
            "loss_se": 0.0213,
            "nodes": 112,
            "metrics": 10,
            "pruned_accuracy": 0.9583,
            "pruned_accuracy_se": 0.0105,
        },
    }


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path)

"""The core's own plugin: it offers the core's components through the hooks of plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodelens.plugins.hookspecs import hookimpl
from nodelens.plugins.specs import (
    AnalysisSpec,
    BackendSpec,
    DatasetSpec,
    InterventionSpec,
    LossSpec,
    RecoverySpec,
    ReportSpec,
)

if TYPE_CHECKING:
    from nodelens.capture.request import CaptureRequest
    from nodelens.capture.result import Capture
    from nodelens.scoring.scorer import ScoreRequest
    from nodelens.scoring.scores import Scores


@hookimpl
def nodelens_register_backends() -> list[BackendSpec]:
    """Return the reference models, and models of the user's own code."""
    return [
        BackendSpec("mlp", "nodelens.models.mlp:MLP", "Multilayer perceptron."),
        BackendSpec("cnn", "nodelens.models.cnn:CNN", "Small convolutional network."),
        BackendSpec("resnet", "nodelens.models.resnet:ResNet", "Small residual network."),
        BackendSpec(
            "import",
            "nodelens.models.imported:Imported",
            "Your own model as module:function; needs --allow-import.",
        ),
    ]


@hookimpl
def nodelens_register_datasets() -> list[DatasetSpec]:
    """Return the dataset that needs no download, and readers of common files."""
    return [
        DatasetSpec(
            "digits", "nodelens.data.digits:Digits", "Handwritten digits of 8 by 8 pixels."
        ),
        DatasetSpec("arrays", "nodelens.data.arrays:Arrays", "NumPy files (.npz, .npy)."),
        DatasetSpec("idx", "nodelens.data.idx:Idx", "IDX files, the format of the MNIST family."),
        DatasetSpec(
            "image_folder",
            "nodelens.data.image_folder:ImageFolder",
            "Images in one folder per class.",
        ),
    ]


@hookimpl
def nodelens_register_losses() -> list[LossSpec]:
    """Return the common losses, and targets."""
    return [
        LossSpec(
            "cross_entropy",
            "nodelens.losses.cross_entropy:CrossEntropy",
            "Cross-entropy of class numbers, also per position.",
        ),
        LossSpec("mse", "nodelens.losses.regression:MSE", "Squared error, with R² and MAE."),
        LossSpec(
            "bce",
            "nodelens.losses.binary:BCE",
            "Cross-entropy of labels that are 0 or 1, with accuracy and F1.",
        ),
        LossSpec("own", "nodelens.losses.own:Own", "The loss that the model itself defines."),
        LossSpec(
            "import",
            "nodelens.losses.imported:ImportedLoss",
            "Your own loss or target as module:function; needs --allow-import.",
        ),
        LossSpec(
            "class_logit", "nodelens.losses.output_targets:ClassLogit", "Target: one class's logit."
        ),
        LossSpec(
            "token_logit", "nodelens.losses.output_targets:TokenLogit", "Target: one token's logit."
        ),
        LossSpec(
            "logit_difference",
            "nodelens.losses.output_targets:LogitDifference",
            "Target: a class's or token's logit minus another's.",
        ),
    ]


@hookimpl
def nodelens_register_analyses() -> list[AnalysisSpec]:
    """Return the analyses of scores."""
    return [
        AnalysisSpec(
            "agreement",
            "nodelens.analyses.agreement.options:Agreement",
            "How much the metrics agree about which nodes matter.",
        ),
        AnalysisSpec(
            "clusters",
            "nodelens.analyses.clusters.options:Clusters",
            "Groups of nodes with similar scores, if there are any.",
        ),
        AnalysisSpec(
            "layers",
            "nodelens.analyses.layers.options:Layers",
            "Layer metrics along the depth of the model.",
        ),
    ]


@hookimpl
def nodelens_register_interventions() -> list[InterventionSpec]:
    """Return the tests of scores by ablation."""
    return [
        InterventionSpec(
            "ablation",
            "nodelens.interventions.ablation.options:Ablation",
            "Loss while nodes are ablated, least or most important first.",
        ),
        InterventionSpec(
            "oracle",
            "nodelens.interventions.oracle.options:Oracle",
            "True loss change of single nodes, and which metric predicts it.",
        ),
    ]


@hookimpl
def nodelens_register_recoveries() -> list[RecoverySpec]:
    """Return the recovery that needs no other package."""
    return [
        RecoverySpec(
            "fine_tune",
            "nodelens.recovery.fine_tune:FineTune",
            "All weights of a pruned model, trained for a number of steps.",
        ),
    ]


@hookimpl
def nodelens_register_reports() -> list[ReportSpec]:
    """Return the report writers."""
    return [
        ReportSpec("html", "nodelens.reports.html:HtmlReport", "One page that opens anywhere."),
        ReportSpec("json", "nodelens.reports.json_report:JsonReport", "A summary for machines."),
    ]


@hookimpl(trylast=True)
def nodelens_capture(request: CaptureRequest) -> Capture:
    """Stream the batches through the model once."""
    from nodelens.capture.engine import run_capture

    return run_capture(request)


@hookimpl(trylast=True)
def nodelens_score(request: ScoreRequest) -> Scores:
    """Compute every metric on every group."""
    from nodelens.scoring.scorer import compute_scores

    return compute_scores(request)

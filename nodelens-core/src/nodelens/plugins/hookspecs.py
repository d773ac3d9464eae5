"""Every hook that a plugin can implement.

A plugin is a module (or object) named by an entry point of the group ``nodelens.plugins``. It
implements any of these functions under the same name, decorated with `nodelens.hookimpl`, with any
subset of the arguments. Registration hooks *describe*; the core *dispatches by name*.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pluggy

from nodelens.interfaces.observer import (
    PROJECT,
    hookspec,
    nodelens_capture_batch,
    nodelens_captured,
    nodelens_run_finished,
    nodelens_run_started,
    nodelens_scored,
    nodelens_stage_finished,
)

if TYPE_CHECKING:
    from torch.nn import Module

    from nodelens.capture.request import CaptureRequest
    from nodelens.capture.result import Capture
    from nodelens.interfaces.loss import ModelLabels
    from nodelens.plugins.specs import (
        AnalysisSpec,
        BackendSpec,
        CommandSpec,
        DatasetSpec,
        EvaluationSpec,
        InterventionSpec,
        LossSpec,
        MetricSpec,
        OperatorSpec,
        PrunerSpec,
        RecoverySpec,
        ReportSpec,
    )
    from nodelens.scoring.scorer import ScoreRequest
    from nodelens.scoring.scores import Scores

hookimpl = pluggy.HookimplMarker(PROJECT)

OBSERVERS = (
    nodelens_capture_batch,
    nodelens_captured,
    nodelens_scored,
    nodelens_run_started,
    nodelens_stage_finished,
    nodelens_run_finished,
)
"""The hooks of observers, whose contract is `nodelens.interfaces.observer`."""


@hookspec
def nodelens_register_backends() -> Sequence[BackendSpec]:
    """Offer model backends; called once, when plugins are loaded.

    Returns:
        One specification for each source of models.

    Example:
        ::

            @hookimpl
            def nodelens_register_backends():
                return [BackendSpec(name="cnn", target="mypkg.cnn:CNN", summary="Small CNN.")]
    """
    raise AssertionError("a specification, never called")


@hookspec
def nodelens_register_datasets() -> Sequence[DatasetSpec]:
    """Offer datasets; called once, when plugins are loaded.

    Returns:
        One specification for each source of samples.

    Example:
        ::

            @hookimpl
            def nodelens_register_datasets():
                return [DatasetSpec(name="spikes", target="mypkg.spikes:Spikes", summary="Spikes.")]
    """
    raise AssertionError("a specification, never called")


@hookspec
def nodelens_register_metrics() -> Sequence[MetricSpec]:
    """Offer node metrics; called once, when plugins are loaded.

    Returns:
        One specification for each metric.

    Example:
        ::

            @hookimpl
            def nodelens_register_metrics():
                return [MetricSpec(name="peak", target="mypkg.peak:Peak", summary="Largest |a|.")]
    """
    raise AssertionError("a specification, never called")


@hookspec
def nodelens_register_losses() -> Sequence[LossSpec]:
    """Offer losses; called once, when plugins are loaded.

    Returns:
        One specification for each loss.

    Example:
        ::

            @hookimpl
            def nodelens_register_losses():
                return [LossSpec(name="huber", target="mypkg.huber:Huber", summary="Huber loss.")]
    """
    raise AssertionError("a specification, never called")


@hookspec
def nodelens_register_analyses() -> Sequence[AnalysisSpec]:
    """Offer analyses of scores; called once, when plugins are loaded.

    Returns:
        One specification for each analysis.

    Example:
        ::

            @hookimpl
            def nodelens_register_analyses():
                return [AnalysisSpec(name="gini", target="mypkg.gini:Gini", summary="Gini index.")]
    """
    raise AssertionError("a specification, never called")


@hookspec
def nodelens_register_interventions() -> Sequence[InterventionSpec]:
    """Offer interventions, which test scores by ablation; called once, when plugins are loaded.

    Returns:
        One specification for each intervention.

    Example:
        ::

            @hookimpl
            def nodelens_register_interventions():
                return [InterventionSpec(name="swap", target="mypkg.swap:Swap", summary="Swap.")]
    """
    raise AssertionError("a specification, never called")


@hookspec
def nodelens_register_evaluations() -> Sequence[EvaluationSpec]:
    """Offer evaluations, which measure whole models; called once, when plugins are loaded.

    Returns:
        One specification for each evaluation.

    Example:
        ::

            @hookimpl
            def nodelens_register_evaluations():
                return [EvaluationSpec(name="ece", target="mypkg.ece:ECE", summary="Calibration.")]
    """
    raise AssertionError("a specification, never called")


@hookspec
def nodelens_register_pruners() -> Sequence[PrunerSpec]:
    """Offer pruning methods; called once, when plugins are loaded.

    Returns:
        One specification for each pruning method.

    Example:
        ::

            @hookimpl
            def nodelens_register_pruners():
                return [PrunerSpec(name="mine", target="mypkg.mine:Mine", summary="My method.")]
    """
    raise AssertionError("a specification, never called")


@hookspec
def nodelens_register_recoveries() -> Sequence[RecoverySpec]:
    """Offer recoveries, which train pruned models; called once, when plugins are loaded.

    Returns:
        One specification for each recovery.

    Example:
        ::

            @hookimpl
            def nodelens_register_recoveries():
                return [RecoverySpec(name="mine", target="mypkg.mine:Mine", summary="My recovery.")]
    """
    raise AssertionError("a specification, never called")


@hookspec
def nodelens_register_reports() -> Sequence[ReportSpec]:
    """Offer report writers; called once, when plugins are loaded.

    Returns:
        One specification for each report writer.

    Example:
        ::

            @hookimpl
            def nodelens_register_reports():
                return [ReportSpec(name="slides", target="mypkg.slides:Slides", summary="Slides.")]
    """
    raise AssertionError("a specification, never called")


@hookspec
def nodelens_register_commands() -> Sequence[CommandSpec]:
    """Offer subcommands of ``nodelens``; called once, and each is imported when it is used.

    Returns:
        One specification for each command.

    Example:
        ::

            @hookimpl
            def nodelens_register_commands():
                return [CommandSpec(name="diff", target="mypkg.cli:diff", summary="Compare runs.")]
    """
    raise AssertionError("a specification, never called")


@hookspec
def nodelens_register_operators() -> Sequence[OperatorSpec]:
    """Offer rows of operators that the core does not know; called once, imported when used.

    A row has a rule, which relates the axes of an operator's inputs to those of its outputs, and
    what masks, removal and costs know of the operator. Without a row, whatever the operator
    touches is frozen.

    Returns:
        One specification for each operator.

    Example:
        ::

            # mypkg/operators.py
            GATE = Operator("mypkg::gate", pointwise)

            @hookimpl
            def nodelens_register_operators():
                return [OperatorSpec("gate", "mypkg.operators:GATE", "A fused gate.")]
    """
    raise AssertionError("a specification, never called")


@hookspec(firstresult=True)
def nodelens_labels(model: Module) -> ModelLabels | None:
    """Say what labels mean to a model of a known type; the first answer counts.

    Asked for models of the user's own; a backend says so itself, in its handle.

    Args:
        model: the model, a torch.nn.Module, not to be changed.

    Returns:
        The names of the outputs, and a function that finds the model's own loss on a batch; None
        for a model of another type.

    Example:
        A plugin of a library whose language models shift their labels returns a `ModelLabels` for
        its classes, else None.
    """


@hookspec(firstresult=True)
def nodelens_capture(request: CaptureRequest) -> Capture | None:
    """Stream the calibration samples once; the first answer counts, the core's is last.

    Args:
        request: the model, its channel graph, the batches, the loss and the plan of statistics.

    Returns:
        The statistics of every group, by fold; a capture that leaves one of the plan out, and has
        no reason in its counts, is refused. None leaves the request to the next engine.

    Example:
        An engine for another device returns a `Capture` for models that it knows, else None.
    """


@hookspec(firstresult=True)
def nodelens_score(request: ScoreRequest) -> Scores | None:
    """Compute scores from statistics and weights; the first answer counts, the core's is last.

    Args:
        request: the metrics, the capture and the model's channel graph.

    Returns:
        Every metric on every group, or in `skipped` and `failed` why there is none; scores that
        leave one out are refused. None leaves the request to the next scorer.

    Example:
        A cache looks up ``request.digest``, which is equal where data, model, capture and metrics
        are, and returns the stored `Scores`, else None.
    """

"""Every hook that a plugin can implement.

A plugin is a module (or object) named by an entry point of the group ``nodelens.plugins``. It
implements any of these functions under the same name, decorated with `nodelens.hookimpl`, with any
subset of the arguments. Registration hooks *describe*; the core *dispatches by name*.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from nodelens.capture.batches import Batch
    from nodelens.capture.request import CaptureRequest
    from nodelens.capture.result import Capture
    from nodelens.channels.groups import Site
    from nodelens.plugins.specs import (
        AnalysisSpec,
        BackendSpec,
        CommandSpec,
        DatasetSpec,
        EvaluationSpec,
        InterventionSpec,
        MetricSpec,
        OperatorSpec,
        PrunerSpec,
        RecoverySpec,
        ReportSpec,
    )
    from nodelens.scoring.scorer import ScoreRequest
    from nodelens.scoring.scores import Scores
    from nodelens.storage.run_folder import RunFolder

PROJECT = "nodelens"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def nodelens_register_backends() -> Sequence[BackendSpec]:
    """Return the model backends that the plugin offers; called once.

    Example::

        @hookimpl
        def nodelens_register_backends():
            return [BackendSpec(name="cnn", target="mypkg.cnn:CNN", summary="Small CNN.")]
    """
    raise AssertionError("a specification, never called")


@hookspec
def nodelens_register_datasets() -> Sequence[DatasetSpec]:
    """Return the datasets that the plugin offers; called once.

    Example::

        @hookimpl
        def nodelens_register_datasets():
            return [DatasetSpec(name="spikes", target="mypkg.spikes:Spikes", summary="Spikes.")]
    """
    raise AssertionError("a specification, never called")


@hookspec
def nodelens_register_metrics() -> Sequence[MetricSpec]:
    """Return the node metrics that the plugin offers; called once.

    Example::

        @hookimpl
        def nodelens_register_metrics():
            return [MetricSpec(name="peak", target="mypkg.peak:Peak", summary="Largest |a|.")]
    """
    raise AssertionError("a specification, never called")


@hookspec
def nodelens_register_analyses() -> Sequence[AnalysisSpec]:
    """Return the analyses of scores that the plugin offers; called once.

    Example::

        @hookimpl
        def nodelens_register_analyses():
            return [AnalysisSpec(name="gini", target="mypkg.gini:Gini", summary="Gini index.")]
    """
    raise AssertionError("a specification, never called")


@hookspec
def nodelens_register_interventions() -> Sequence[InterventionSpec]:
    """Return the interventions (tests of scores by ablation) that the plugin offers; called once.

    Example::

        @hookimpl
        def nodelens_register_interventions():
            return [InterventionSpec(name="swap", target="mypkg.swap:Swap", summary="Swap nodes.")]
    """
    raise AssertionError("a specification, never called")


@hookspec
def nodelens_register_evaluations() -> Sequence[EvaluationSpec]:
    """Return the evaluations (measures of whole models) that the plugin offers; called once.

    Example::

        @hookimpl
        def nodelens_register_evaluations():
            return [EvaluationSpec(name="ece", target="mypkg.ece:ECE", summary="Calibration.")]
    """
    raise AssertionError("a specification, never called")


@hookspec
def nodelens_register_pruners() -> Sequence[PrunerSpec]:
    """Return the pruning methods that the plugin offers; called once.

    Example::

        @hookimpl
        def nodelens_register_pruners():
            return [PrunerSpec(name="mine", target="mypkg.mine:Mine", summary="My method.")]
    """
    raise AssertionError("a specification, never called")


@hookspec
def nodelens_register_recoveries() -> Sequence[RecoverySpec]:
    """Return the ways to train pruned models that the plugin offers; called once.

    Example::

        @hookimpl
        def nodelens_register_recoveries():
            return [RecoverySpec(name="mine", target="mypkg.mine:Mine", summary="My recovery.")]
    """
    raise AssertionError("a specification, never called")


@hookspec
def nodelens_register_reports() -> Sequence[ReportSpec]:
    """Return the report writers that the plugin offers; called once.

    Example::

        @hookimpl
        def nodelens_register_reports():
            return [ReportSpec(name="slides", target="mypkg.slides:Slides", summary="Slides.")]
    """
    raise AssertionError("a specification, never called")


@hookspec
def nodelens_register_commands() -> Sequence[CommandSpec]:
    """Return the subcommands that the plugin adds to ``nodelens``; called once, imported when used.

    Example::

        @hookimpl
        def nodelens_register_commands():
            return [CommandSpec(name="diff", target="mypkg.cli:diff", summary="Compare two runs.")]
    """
    raise AssertionError("a specification, never called")


@hookspec
def nodelens_register_operators() -> Sequence[OperatorSpec]:
    """Return rows of operators that the core does not know; called once, imported when used.

    A row has a rule, which relates the axes of an operator's inputs to those of its outputs, and
    what masks, removal and costs know of the operator. Without a row, whatever the operator
    touches is frozen.

    Example::

        # mypkg/operators.py
        GATE = Operator("mypkg::gate", pointwise)

        @hookimpl
        def nodelens_register_operators():
            return [OperatorSpec("gate", "mypkg.operators:GATE", "A fused gate.")]
    """
    raise AssertionError("a specification, never called")


@hookspec(firstresult=True)
def nodelens_capture(request: CaptureRequest) -> Capture | None:
    """Stream the calibration data once and return the statistics; the core's engine answers last.

    Arguments:
        request: the model, its channel graph, the batches, the loss and the plan of statistics.

    Example: an engine for another device returns a `Capture` for models that it knows, else None.
    """


@hookspec
def nodelens_capture_batch(site: Site, batch: Batch) -> None:
    """Observe that one site has read one batch; for progress and tracing, nothing is returned.

    Arguments:
        site: where the nodes of one group were read.
        batch: the batch that went through the model, not to be changed.

    Example::

        @hookimpl
        def nodelens_capture_batch(site, batch):
            print(site.name, batch.rows)
    """


@hookspec
def nodelens_captured(capture: Capture) -> None:
    """Observe the finished statistics, before scoring.

    Arguments:
        capture: the statistics of every group, by fold, not to be changed.

    Example::

        @hookimpl
        def nodelens_captured(capture):
            print(capture.samples)
    """


@hookspec(firstresult=True)
def nodelens_score(request: ScoreRequest) -> Scores | None:
    """Turn statistics and weights into scores; the core answers last, so a cache can answer first.

    Arguments:
        request: the metrics, the capture and the model's channel graph.

    Example: a cache looks the request up by its key and returns the `Scores` it stored, else None.
    """


@hookspec
def nodelens_scored(scores: Scores, run: RunFolder | None) -> None:
    """Observe the scores.

    Arguments:
        scores: every metric on every group, with standard errors.
        run: the run folder, or None when the Python API scored without a run.

    Example::

        @hookimpl
        def nodelens_scored(scores, run):
            print(len(scores))
    """


@hookspec
def nodelens_run_started(run: RunFolder) -> None:
    """Observe that a run has its folder and its resolved config, before any work.

    Arguments:
        run: the run folder.

    Example::

        @hookimpl
        def nodelens_run_started(run):
            tracker.open(run.path.name)
    """


@hookspec
def nodelens_stage_finished(run: RunFolder, stage: str, result: Any) -> None:
    """Observe that one stage of a run has ended well and its artifacts are on disk.

    Arguments:
        run: the run folder.
        stage: the stage's name, such as ``training``, ``scores`` or ``interventions.ablation``.
        result: what the stage returned: `Scores`, a `Finding`, or None.

    Example::

        @hookimpl
        def nodelens_stage_finished(run, stage, result):
            tracker.log(stage)
    """


@hookspec
def nodelens_run_finished(run: RunFolder, error: BaseException | None) -> None:
    """Observe the end of a run, good or bad.

    Arguments:
        run: the run folder; ``run.json`` is final.
        error: what ended the run early, or None.

    Example::

        @hookimpl
        def nodelens_run_finished(run, error):
            tracker.close(failed=error is not None)
    """

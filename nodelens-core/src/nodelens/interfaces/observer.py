"""The contract of an observer: the hooks that are called when something was done.

An observer implements any of these functions under the same name, decorated with
`nodelens.hookimpl`, with any subset of the arguments. It returns nothing and changes nothing that
it is given. One that raises ends nothing: it is named in a warning and not called again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from nodelens.capture.batches import Batch
    from nodelens.capture.result import Capture
    from nodelens.channels.groups import Site
    from nodelens.scoring.scores import Scores
    from nodelens.storage.run_folder import RunFolder

PROJECT = "nodelens"
hookspec = pluggy.HookspecMarker(PROJECT)


@hookspec
def nodelens_capture_batch(site: Site, batch: Batch) -> None:
    """Observe that one site has read one batch, for progress and tracing.

    Args:
        site: the place where the nodes of one group were read.
        batch: the batch that went through the model, not to be changed.

    Example:
        ::

            @hookimpl
            def nodelens_capture_batch(site, batch):
                print(site.name, batch.rows)
    """


@hookspec
def nodelens_captured(capture: Capture) -> None:
    """Observe the finished statistics, before scoring.

    Args:
        capture: the statistics of every group, by fold, not to be changed.

    Example:
        ::

            @hookimpl
            def nodelens_captured(capture):
                print(capture.samples)
    """


@hookspec
def nodelens_scored(scores: Scores, run: RunFolder | None) -> None:
    """Observe the scores of a run or of `nodelens.score`.

    Args:
        scores: every metric on every group, with standard errors.
        run: the run folder, or None when the Python API scored without a run.

    Example:
        ::

            @hookimpl
            def nodelens_scored(scores, run):
                print(len(scores))
    """


@hookspec
def nodelens_run_started(run: RunFolder) -> None:
    """Observe the start of a run: the folder and the resolved config are there, no work is done.

    Args:
        run: the run folder.

    Example:
        ::

            @hookimpl
            def nodelens_run_started(run):
                tracker.open(run.path.name)
    """


@hookspec
def nodelens_stage_finished(run: RunFolder, stage: str, result: Any) -> None:
    """Observe that one stage of a run has ended well; its artifacts are on disk.

    Args:
        run: the run folder.
        stage: the stage's name, such as ``training``, ``scores`` or ``interventions.ablation``.
        result: the result of the stage: `Scores`, a `Finding`, or None.

    Example:
        ::

            @hookimpl
            def nodelens_stage_finished(run, stage, result):
                tracker.log(stage)
    """


@hookspec
def nodelens_run_finished(run: RunFolder, error: BaseException | None) -> None:
    """Observe the end of a run, successful or not.

    Args:
        run: the run folder; ``run.json`` is final.
        error: the error that ended the run early, or None.

    Example:
        ::

            @hookimpl
            def nodelens_run_finished(run, error):
                tracker.close(failed=error is not None)
    """

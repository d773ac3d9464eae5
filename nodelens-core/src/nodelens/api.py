"""The Python interface: runs of configs, and scores of a user's own model and batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nodelens.arguments import (
    budget_bytes,
    check_fraction,
    check_numbers,
    check_samples,
    chosen_loss,
    chosen_metrics,
    chosen_target,
    loaded_plugins,
    name_list,
    plain_module,
    stopping_settings,
)
from nodelens.errors import ConfigError
from nodelens.interfaces.backend import Permissions
from nodelens.renamed_arguments import renamed_arguments

if TYPE_CHECKING:
    from torch import nn

    from nodelens.arguments import LossGiven
    from nodelens.capture.distributed.workers import Workers
    from nodelens.config.schema import StoppingSettings
    from nodelens.interfaces.metric import Metric
    from nodelens.plugins.manager import Plugins
    from nodelens.scoring.scores import Scores
    from nodelens.storage.run_folder import RunFolder


@renamed_arguments(tokens="position_fraction", until="stop_when", ranks="workers")
def score(
    model: nn.Module,
    batches: Iterable[Any],
    metrics: Sequence[str | Mapping[str, Any] | Metric],
    *,
    loss: LossGiven = None,
    target: LossGiven | int = None,
    samples: int | None = None,
    folds: int = 8,
    classes: int | None = None,
    class_names: Sequence[str] = (),
    memory_budget: str | int | None = "2GiB",
    position_fraction: float = 1.0,
    stop_when: Mapping[str, Any] | StoppingSettings | None = None,
    seed: int = 0,
    workers: Workers | None = None,
    plugins: Plugins | None = None,
) -> Scores:
    """Score every node of `model` by `metrics`, from one pass over `batches`.

    The model is not changed and is run on its own device. Where torch's process group is
    initialised, every worker must call `score` with equal batches and reads its part of them (batch
    number modulo world size); every worker returns the scores of all.

    Args:
        model: any module that runs forward on the batches.
        batches: tensors, ``(inputs, targets)`` or dicts of keyword arguments, whose first axis runs
            over samples; they are read once, and nothing of them is stored.
        metrics: names, mappings with ``name`` and options, or metric objects; their dependencies
            are scored as well. Patterns such as ``"weight_*"`` and ``"family:information"`` take
            all metrics that match and that fit the model and the batches.
        loss: a name (``"mse"``, see ``nodelens losses``), a mapping with ``name`` and options, a
            `nodelens.interfaces.loss.Loss`, or a function of the model's output and the batch that
            returns one summed loss per row, ``(rows,)``. None is the model's own loss where its
            type says which (transformers), else the cross-entropy of the logits.
        target: what nodes are scored for in place of the loss: the number of a class or its name
            (its logit), a name such as ``"logit_difference"`` with options in a mapping, or a
            function of output and batch, ``(rows,)``. A node matters by how far the target falls
            without it; labels are not needed.
        samples: the number of samples to read; None reads all batches.
        folds: number of folds of the samples, for the standard errors.
        classes: number of classes, for metrics of classes; needed only where the model has more
            outputs than the data have classes, or the loss is none of classes.
        class_names: the names of the model's outputs, in their order, for labels that are text.
        memory_budget: memory for statistics, such as ``512MiB`` or a number of bytes; None is no
            limit. Where more is needed, `batches` is read several times, and covariances are kept
            in fewer folds or as sketches; the log says so.
        position_fraction: fraction of the positions that products of pairs of nodes are taken from;
            ``0.125`` gives standard errors up to √8 times as wide.
        stop_when: a mapping such as ``{"metric": "taylor", "top": 0.1, "min_overlap": 0.95}``: no
            more batches are read once the top of the metric is stable; the log says whether it was.
        seed: what probes and sampled labels are drawn from; another seed draws them again, which
            shows how far scores depend on them.
        workers: ``Workers()`` of `nodelens.capture.distributed.workers` keeps one process apart
            from the process group.
        plugins: loaded plugins; None loads all that are installed.

    Returns:
        Values ``(nodes,)`` with standard errors by metric and group; ``samples`` says how many
        samples were read, ``skipped`` what was not scored in each group, and why.

    Raises:
        NodelensError: for mistakes in the arguments, and for activations, gradients or losses that
            are not finite.

    Example:
        ::

            scores = nodelens.score(model, [(images, labels)], ["activation_rms", "taylor"])
            print(scores["taylor", "conv1:channels"].values)
    """
    from nodelens.capture.distributed.workers import group_workers
    from nodelens.own_model import Options, score_model

    loaded = loaded_plugins(plugins)
    check_numbers(folds, classes, seed)
    check_samples(samples)
    chosen = chosen_metrics(metrics, loaded)
    options = Options(
        loss=chosen_loss(loss, loaded),
        target=chosen_target(target, loaded),
        class_names=name_list(class_names),
        samples=samples,
        folds=folds,
        classes=classes,
        budget=budget_bytes(memory_budget),
        position_fraction=check_fraction(position_fraction),
        stop_when=stopping_settings(stop_when, chosen.metrics),
        seed=seed,
        workers=workers or group_workers(),
    )
    return score_model(plain_module(model), batches, chosen, options, loaded)


def run(
    config: str | Path | Mapping[str, Any] | None = None,
    *overrides: str,
    resume: str | Path | None = None,
    allow_import: Sequence[str] = (),
    trust_remote_code: bool = False,
    plugins: Plugins | None = None,
) -> RunFolder:
    """Run all stages of a config and return the run folder.

    Args:
        config: the path of a YAML file, or a mapping of the same shape; None with `resume` takes
            the config of the run folder.
        overrides: texts such as ``training.epochs=5``.
        resume: the folder or the id of a run that was killed, interrupted or failed; finished
            stages are not run again.
        allow_import: prefixes of modules that a config may name for a model.
        trust_remote_code: whether code that comes with a transformers model may run.
        plugins: loaded plugins; None loads those that the config selects.

    Returns:
        The run folder, with the record, the findings, the scores and the reports.

    Raises:
        ConfigError: for all mistakes in a config at once, and for a config with a ``sweep:``, which
            `run_all` takes.
        RunError: for a run that cannot be resumed.
        NodelensError: for data, models and captures that fail.

    Example:
        ::

            folder = nodelens.run("configs/digits.yaml", "training.epochs=5")
            print(folder.record().summary)
    """
    resumed = None
    if resume is not None:
        resumed, config = _resumed(resume, config)
    elif config is None:
        raise ConfigError(["give a config, or a run to resume"])
    allowed = Permissions(tuple(allow_import), trust_remote_code)
    folders = _runs(config, overrides, allowed, plugins, single=True, resume=resumed)
    return next(folders)


def _resumed(
    resume: str | Path, config: str | Path | Mapping[str, Any] | None
) -> tuple[RunFolder, str | Path | Mapping[str, Any]]:
    """Return the run to resume, and its config unless one is given."""
    from nodelens.config.schema import OUTPUT
    from nodelens.storage.run_folder import find_run

    root = config.get("output", OUTPUT) if isinstance(config, Mapping) else OUTPUT
    found = find_run(resume, Path(root))
    return found, found.config_file() if config is None else config


def run_all(
    config: str | Path | Mapping[str, Any],
    *overrides: str,
    allow_import: Sequence[str] = (),
    trust_remote_code: bool = False,
    plugins: Plugins | None = None,
) -> list[RunFolder]:
    """Run every point of a config with a ``sweep:`` and return the run folders, in order.

    Args:
        config: the path of a YAML file, or a mapping of the same shape.
        overrides: texts such as ``training.epochs=5``, which hold for all runs.
        allow_import: prefixes of modules that a config may name for a model.
        trust_remote_code: whether code that comes with a transformers model may run.
        plugins: loaded plugins; None loads those that the config selects.

    Returns:
        One run folder for each point.

    Raises:
        NodelensError: for all mistakes in a config at once, before the first run, and for the first
            run that fails.

    Example:
        ::

            sweep = {"seed": [0, 1, 2]}
            folders = nodelens.run_all({"model": "cnn", "data": "digits", "sweep": sweep})
    """
    allowed = Permissions(tuple(allow_import), trust_remote_code)
    return list(_runs(config, overrides, allowed, plugins, single=False))


def _runs(
    config: str | Path | Mapping[str, Any],
    overrides: Sequence[str],
    allowed: Permissions,
    plugins: Plugins | None,
    single: bool,
    resume: RunFolder | None = None,
) -> Iterator[RunFolder]:
    from nodelens.config.check import check_config, plugin_settings
    from nodelens.config.load import raw_from_mapping, read_config
    from nodelens.config.sweep import expand
    from nodelens.experiments.run import run_experiment

    if not isinstance(config, str | Path | Mapping):
        raise ConfigError([f"expected a file or a mapping, got {type(config).__name__}"])
    if wrong := [each for each in overrides if not isinstance(each, str)]:
        raise ConfigError([f"an override is written 'key.path=value', got {wrong[0]!r}"])
    if isinstance(config, Mapping):
        raw = raw_from_mapping(dict(config), overrides)
    else:
        raw = read_config(Path(config), overrides)
    points = expand(raw)
    if single and len(points) > 1:
        raise ConfigError([f"this config sweeps over {len(points)} runs; use nodelens.run_all"])
    loaded = loaded_plugins(plugins, plugin_settings(raw))
    checked = [check_config(point, loaded.registry) for point in points]
    for each in checked:
        yield run_experiment(each, loaded, allowed=allowed, resume=resume)

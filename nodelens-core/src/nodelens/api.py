"""The Python interface: the same words as the command line, on your own model and batches."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from nodelens.arguments import (
    budget_bytes,
    check_forward,
    check_numbers,
    check_targets,
    chosen_metrics,
    count_outputs,
    device_of,
    peeked,
    plain_module,
)
from nodelens.errors import ConfigError

log = logging.getLogger("nodelens")

if TYPE_CHECKING:
    from torch import nn

    from nodelens.capture.engine import Loss
    from nodelens.capture.ranks import Ranks
    from nodelens.channels.groups import ChannelGraph
    from nodelens.plugins.manager import Plugins
    from nodelens.scoring.contract import Metric
    from nodelens.scoring.scores import Scores
    from nodelens.storage.run_folder import RunFolder


def infer(model: nn.Module, *args: Any, **kwargs: Any) -> ChannelGraph:  # noqa: ANN401
    """Return the channel groups of `model`, found by one forward on fake copies of the inputs."""
    from nodelens.channels.infer import infer as infer_channels

    return infer_channels(model, *args, **kwargs)


def score(
    model: nn.Module,
    batches: Iterable[Any],
    metrics: Sequence[str | Mapping[str, Any] | Metric],
    *,
    loss: Loss | None = None,
    folds: int = 8,
    classes: int | None = None,
    memory_budget: str | int | None = "2GiB",
    ranks: Ranks | None = None,
    plugins: Plugins | None = None,
) -> Scores:
    """Score every node of `model` by `metrics`, from one pass over `batches`.

    `batches` yields tensors, ``(inputs, targets)`` or dicts of keyword arguments, in which the
    first axis runs over samples; it is read once and nothing of it is stored. `metrics` are names,
    mappings with ``name`` and options, or metric objects; what they are made of is scored as well.
    Where their statistics need more than `memory_budget` (``512MiB``, a number of bytes, or None
    for no limit), `batches` is read several times, and covariances are kept in fewer folds or as
    sketches; the log says so. `loss` maps the model's output and the batch to one summed loss per
    row, ``(rows,)``; left out, the cross-entropy of the logits.
    `classes` is needed only by class metrics when the model has more outputs than the data has
    classes. The model stays as it was, on its own device. Raises `NodelensError` subclasses for
    mistakes.

    Where torch's process group is initialised, every rank must call this with the same batches and
    reads its share of them (batch number modulo ranks); every rank returns the scores of all.
    ``ranks=Ranks()``, of `nodelens.capture.ranks`, keeps one process apart.
    """
    import torch

    from nodelens.capture.engine import CaptureRequest
    from nodelens.capture.fitting import plan_metrics
    from nodelens.capture.losses import row_losses
    from nodelens.capture.ranks import group_ranks
    from nodelens.channels.infer import infer as infer_channels
    from nodelens.plugins.manager import load_plugins
    from nodelens.scoring.engine import ScoreRequest

    loaded = plugins or load_plugins()
    model = plain_module(model)
    check_numbers(folds, classes)
    budget = budget_bytes(memory_budget)
    chosen = chosen_metrics(metrics, loaded)
    first, rest = peeked(batches)
    example = first.to(device_of(model))
    check_forward(model, example)
    rules = loaded.operator_rules()
    with torch.inference_mode(False):
        graph = infer_channels(model, *example.args, rules=rules, **example.kwargs)
    planned = plan_metrics(graph, chosen, folds, model=model, budget=budget)
    if planned.plan.targets:
        classes = classes or count_outputs(model, example)
        planned = plan_metrics(graph, chosen, folds, classes, model=model, budget=budget)
    plan = planned.plan
    for note in plan.notes:
        log.warning("%s", note)
    check_targets(first, plan.gradient and loss is None, plan.targets)
    with TemporaryDirectory(prefix="nodelens-") as folder, torch.inference_mode(False):
        request = CaptureRequest(
            model,
            graph,
            rest,
            plan,
            device_of(model),
            loss or row_losses,
            store=Path(folder),
            ranks=ranks or group_ranks(),
        )
        capture = loaded.capture(request)
        scores = loaded.score(ScoreRequest(model, graph, planned.metrics, capture))
    loaded.scored(scores, None)
    return scores


def run(
    config: str | Path | Mapping[str, Any] | None = None,
    *overrides: str,
    resume: str | Path | None = None,
    allow_import: Sequence[str] = (),
    plugins: Plugins | None = None,
) -> RunFolder:
    """Do everything that a config says and return the run folder.

    `config` is the path of a YAML file or a mapping of the same shape; `overrides` are strings like
    ``training.epochs=5``. `resume` is the folder of a run that was killed, interrupted or failed,
    or its id: it goes on, by its own config where none is given. Raises `ConfigError` for a config
    with a ``sweep:`` (see `run_all`), and `RunError` for a run that cannot go on.
    """
    resumed = None
    if resume is not None:
        resumed, config = _resumed(resume, config)
    elif config is None:
        raise ConfigError(["give a config, or a run to resume"])
    folders = _runs(config, overrides, allow_import, plugins, single=True, resume=resumed)
    return next(folders)


def _resumed(
    resume: str | Path, config: str | Path | Mapping[str, Any] | None
) -> tuple[RunFolder, str | Path | Mapping[str, Any]]:
    """Return the run and the config that it goes on by."""
    from nodelens.config.schema import OUTPUT
    from nodelens.storage.run_folder import find_run

    root = config.get("output", OUTPUT) if isinstance(config, Mapping) else OUTPUT
    found = find_run(resume, Path(root))
    return found, found.config_file() if config is None else config


def run_all(
    config: str | Path | Mapping[str, Any],
    *overrides: str,
    allow_import: Sequence[str] = (),
    plugins: Plugins | None = None,
) -> list[RunFolder]:
    """Do every run of a config with a ``sweep:`` and return the run folders, in order."""
    return list(_runs(config, overrides, allow_import, plugins, single=False))


def _runs(
    config: str | Path | Mapping[str, Any],
    overrides: Sequence[str],
    allow_import: Sequence[str],
    plugins: Plugins | None,
    single: bool,
    resume: RunFolder | None = None,
) -> Iterator[RunFolder]:
    from nodelens.config.check import check_config, plugin_settings
    from nodelens.config.load import raw_from_mapping, read_config
    from nodelens.config.sweep import expand
    from nodelens.experiments.run import run_experiment
    from nodelens.plugins.manager import load_plugins

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
    loaded = plugins or load_plugins(plugin_settings(raw))
    checked = [check_config(point, loaded.registry) for point in points]
    for each in checked:
        yield run_experiment(each, loaded, allow_import=tuple(allow_import), resume=resume)

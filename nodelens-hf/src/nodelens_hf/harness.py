"""Tasks of the Language Model Evaluation Harness (lm-eval) on a model."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from attrs import frozen

from nodelens.errors import DataError, ModelError
from nodelens.findings.finding import Finding, Table
from nodelens.model_state import evaluating
from nodelens.training.estimate import Estimate
from nodelens_hf.compatibility import check_causal, check_window
from nodelens_hf.tokenizers import BYTES, transformers_tokenizer

if TYPE_CHECKING:
    from torch import nn

    from nodelens_hf.evaluations import LmEval

_EXTRA = "pip install 'nodelens-hf[lm-eval]'"
_UNREADABLE = (OSError, ValueError, KeyError, ImportError, TypeError, RuntimeError)
"""Errors of lm-eval and datasets for tasks that they cannot read."""


@frozen
class Measured:
    """One number of one task, with the standard error.

    `samples` is the number of questions; `better` says whether higher or lower is better.
    """

    task: str
    measure: str
    value: Estimate
    samples: int
    shots: int | None
    version: str
    better: str | None


@frozen
class HarnessResult:
    """All numbers of all tasks, and the version of lm-eval."""

    measured: tuple[Measured, ...]
    version: str

    def __getitem__(self, key: tuple[str, str]) -> Measured:
        """Return the number of a task by the measure's name, such as ``acc``."""
        for each in self.measured:
            if (each.task, each.measure) == key:
                return each
        known = ", ".join(f"{each.task} {each.measure}" for each in self.measured)
        raise KeyError(f"{key}; there are {known}")


def measure(protocol: LmEval, model: nn.Module, seed: int = 0) -> HarnessResult:
    """Measure the model on all tasks; the model and the random states are left unchanged.

    Raises `DataError` for tasks and tokenizers that cannot be read, and where lm-eval is missing,
    `ModelError` for a masked language model.
    """
    try:
        import lm_eval
        from lm_eval.models.huggingface import HFLM
    except ImportError as error:
        raise DataError(f"lm_eval needs a package that is missing ({error}); {_EXTRA}") from error
    check_causal(model)
    tokenizer = _tokenizer(protocol)
    if protocol.window is not None:
        check_window(model, protocol.window)
    with evaluating(model), _own_state(), _explained(protocol):
        wrapped: Any = HFLM(
            pretrained=model,
            tokenizer=tokenizer,
            batch_size=protocol.batch_size,
            max_length=protocol.window,
        )
        found: Any = lm_eval.simple_evaluate(
            model=wrapped,
            tasks=list(protocol.tasks),
            num_fewshot=protocol.shots,
            limit=protocol.limit,
            task_manager=_tasks(protocol),
            log_samples=False,
            random_seed=seed,
            numpy_random_seed=seed,
            torch_random_seed=seed,
            fewshot_random_seed=seed,
        )
    return HarnessResult(tuple(_measured(found)), str(lm_eval.__version__))


def _tasks(protocol: LmEval) -> Any:
    """Return the task index: the folder of own tasks if it holds all of them, else all of lm-eval.

    The thousands of tasks of the package take seconds to list.
    """
    from lm_eval.tasks import TaskManager

    if protocol.include_path is not None:
        own = TaskManager(include_path=protocol.include_path, include_defaults=False)
        if set(protocol.tasks) <= set(own.all_tasks):
            return own
    return TaskManager(include_path=protocol.include_path)


def _tokenizer(protocol: LmEval) -> Any:
    if protocol.tokenizer == BYTES:
        raise DataError("lm_eval: give a folder or hub id that has a tokenizer of transformers")
    if protocol.include_path is not None and not Path(protocol.include_path).is_dir():
        raise DataError(f"include_path: there is no folder {protocol.include_path}")
    return transformers_tokenizer(protocol.tokenizer, protocol.gguf_file)


@contextmanager
def _own_state() -> Iterator[None]:
    """Restore the global random states, which lm-eval seeds; log its errors only."""
    python, numpy = random.getstate(), np.random.get_state()
    log = logging.getLogger("lm_eval")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with torch.random.fork_rng():
            yield
    finally:
        log.setLevel(level)
        random.setstate(python)
        np.random.set_state(numpy)


@contextmanager
def _explained(protocol: LmEval) -> Iterator[None]:
    """Raise `DataError` in one line for a task that cannot be read or run."""
    try:
        yield
    except ModelError:
        raise
    except _UNREADABLE as error:
        reason = (str(error).strip().splitlines() or [""])[0].strip("'\"")
        names = ", ".join(protocol.tasks)
        raise DataError(
            f"lm_eval: {names}: {type(error).__name__}: {reason}; tasks that come with lm-eval "
            "read their data from the hub or its cache, a folder of own tasks is include_path"
        ) from error


def _measured(found: Mapping[str, Any]) -> Iterator[Measured]:
    """Yield the numbers of lm-eval's result, whose keys are ``measure,filter``."""
    for task, numbers in found["results"].items():
        counted = found.get("n-samples", {}).get(task, {})
        for key, value in numbers.items():
            name, _, filtered = key.partition(",")
            if not filtered or name.endswith("_stderr") or not isinstance(value, int | float):
                continue
            error = numbers.get(f"{name}_stderr,{filtered}")
            se = float(error) if isinstance(error, int | float) else float("nan")
            more = found.get("higher_is_better", {}).get(task, {}).get(name)
            yield Measured(
                task=task,
                measure=name if filtered == "none" else f"{name} ({filtered})",
                value=Estimate(float(value), se),
                samples=int(counted.get("effective", 0)),
                shots=found.get("n-shot", {}).get(task),
                version=str(found.get("versions", {}).get(task, "")),
                better=None if more is None else ("high" if more else "low"),
            )


def finding_of(protocol: LmEval, result: HarnessResult) -> Finding:
    """Return all numbers with the tasks' versions as a finding."""
    rows = tuple(
        (
            each.task,
            each.measure,
            each.value.finite(),
            each.value.finite_se(),
            each.samples,
            each.shots,
            each.version,
        )
        for each in result.measured
    )
    note = f"lm-eval {result.version}; shots are examples before a question."
    if protocol.limit is not None:
        note += f" At most {protocol.limit} questions per task: not comparable with whole tasks."
    columns = ("task", "measure", "value", "se", "questions", "shots", "version")
    return Finding(
        kind="evaluation",
        name="lm_eval",
        title="Tasks of lm-eval",
        headline=tuple(
            f"{each.task}: {each.measure} {each.value.text('.4g')} on {each.samples} questions"
            for each in result.measured
        ),
        warnings=()
        if protocol.limit is None
        else (f"at most {protocol.limit} questions of each task were used",),
        tables=(Table("lm_eval", "Tasks of lm-eval", columns, rows, note),),
        data={
            "lm_eval": result.version,
            "limit": protocol.limit,
            "tasks": [dict(zip(columns, row, strict=True)) for row in rows],
        },
    )

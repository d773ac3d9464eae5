"""Half of every prunable group removed by NodeLens and by torch-pruning, over the test suite.

    pip install -c constraints.txt torch-pruning   # with --no-deps where torch is there already
    python projects/benchmarks/removal.py [NAME ...] [--markdown FILE]

Both get the model and example inputs and nothing else, except that torch-pruning gets the names of
the layers that write the model's output, which it would otherwise prune. Each is stopped after 60
seconds.
"""

from __future__ import annotations

import argparse
import copy
import logging
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from attrs import frozen
from torch import nn

from nodelens.channels.infer import infer
from nodelens.errors import ModelError
from nodelens.removal.removal import remove
from nodelens.removal.verify import random_keep, verify

ROOT = Path(__file__).parents[2]
LIMIT = 60


@frozen
class Outcome:
    """Result of one tool on one model; `error` is empty where the smaller model runs."""

    groups: int
    fraction: float
    seconds: float
    error: str = ""
    note: str = ""
    inferred: float = 0.0

    def cell(self) -> str:
        """Return the outcome for a table."""
        if self.error:
            return f"fails: {self.error}"
        return f"runs, -{100 * self.fraction:.0f} % parameters {self.note}, {self.seconds:.2f} s"


@contextmanager
def stopped_after(seconds: int) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeoutError(f"not done after {seconds} s")

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def call(model: nn.Module, inputs: object) -> None:
    with torch.no_grad():
        model(**inputs) if isinstance(inputs, dict) else model(*inputs)


def with_nodelens(model: nn.Module, inputs: object) -> Outcome:
    args, kwargs = ((), inputs) if isinstance(inputs, dict) else (inputs, {})
    started = time.perf_counter()
    graph = infer(model, *args, **kwargs)
    inferred = time.perf_counter() - started
    prunable = [group for group in graph if group.prunable]
    before = size(model)
    keep = {group.name: random_keep(group, 0.5, seed=0) for group in prunable}
    refused: list[str] = []
    try:
        removal = remove(model, graph, keep, *args, **kwargs)
    except ModelError:
        verdicts = verify(model, graph, *args, **kwargs)
        refused = [verdict.group for verdict in verdicts if verdict.status == "refused"]
        kept = {name: nodes for name, nodes in keep.items() if name not in refused}
        removal = remove(model, graph, kept, *args, **kwargs)
    seconds = time.perf_counter() - started
    call(model, inputs)
    statuses = {verdict.status for verdict in removal.verdicts}
    note = "exact" if statuses <= {"exact"} else "exact but for normalised groups"
    note += f"; {len(refused)} of {len(prunable)} groups refused" if refused else ""
    return Outcome(
        len(prunable), 1 - size(model) / before, seconds, note=f"({note})", inferred=inferred
    )


def output_layers(model: nn.Module, inputs: object) -> list[nn.Module]:
    args, kwargs = ((), inputs) if isinstance(inputs, dict) else (inputs, {})
    names = {
        part.parameter.rpartition(".")[0]
        for group in infer(model, *args, **kwargs)
        if group.frozen == "model output"
        for part in group.role("producer")
    }
    return [model.get_submodule(name) for name in names]


def with_torch_pruning(model: nn.Module, inputs: object) -> Outcome:
    import torch_pruning as tp

    ignored = output_layers(model, inputs)
    started = time.perf_counter()
    before = size(model)
    pruner = tp.pruner.BasePruner(
        model,
        inputs,
        importance=tp.importance.MagnitudeImportance(p=1),
        pruning_ratio=0.5,
        ignored_layers=ignored,
    )
    groups = len(list(pruner.DG.get_all_groups(ignored_layers=ignored)))
    pruner.step()
    seconds = time.perf_counter() - started
    call(model, inputs)
    fraction = 1 - size(model) / before
    if fraction <= 0:
        return Outcome(groups, 0.0, seconds, error="nothing was pruned, without a message")
    return Outcome(groups, fraction, seconds)


def attempt(
    tool: Callable[[nn.Module, object], Outcome], model: nn.Module, inputs: object
) -> Outcome:
    """Run one tool; an exception is its result."""
    started = time.perf_counter()
    try:
        with stopped_after(LIMIT):
            return tool(copy.deepcopy(model), inputs)
    except ModelError as error:
        return Outcome(0, 0.0, time.perf_counter() - started, error=f"refused: {error}"[:160])
    except Exception as error:  # noqa: BLE001 - the failure is what is measured
        text = (str(error).strip().splitlines() or [""])[0][:70]
        return Outcome(0, 0.0, time.perf_counter() - started, f"{type(error).__name__}: {text}")


def suite() -> dict[str, Callable[[], tuple[nn.Module, object]]]:
    """Return the models of the two test suites by name."""
    models: dict[str, Callable[[], tuple[nn.Module, object]]] = {}
    for folder in ("tests/core/channels", "tests/hf"):
        module = _loaded(ROOT / folder / "architectures.py")
        for name in module.SUITE:
            label = name if name not in models else f"{name} (transformers)"
            models[label] = lambda module=module, name=name: module.build(name)
    return models


def _loaded(path: Path):
    import importlib.util

    spec = importlib.util.spec_from_file_location(f"architectures_{path.parent.name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    chosen = {n: make for n, make in suite().items() if not options.names or n in options.names}
    rows = []
    for name, make in chosen.items():
        model, inputs = make()
        if hasattr(getattr(model, "config", None), "use_cache"):
            model.config.use_cache = False  # torch-pruning cannot trace the cache that comes out
        ours = attempt(with_nodelens, model, inputs)
        theirs = attempt(with_torch_pruning, model, inputs)
        rows.append((name, ours, theirs))
        print(f"{name:28} NodeLens {ours.groups:3} groups {ours.cell()}")
        print(f"{'':28} torch-pruning {theirs.groups:3} groups {theirs.cell()}", flush=True)
    print(f"slowest inference: {max(row[1].inferred for row in rows):.2f} s")
    runs = [sum(not row[k].error for row in rows) for k in (1, 2)]
    total = f"{len(rows)} models: NodeLens leaves {runs[0]} running, torch-pruning {runs[1]}"
    print(total)
    if options.markdown:
        lines = ["| model | NodeLens | torch-pruning |", "|---|---|---|"]
        lines += [f"| {name} | {a.cell()} | {b.cell()} |" for name, a, b in rows]
        options.markdown.write_text("\n".join([total, "", *lines, ""]))


if __name__ == "__main__":
    sys.exit(main())

"""Half of every prunable group removed by NodeLens and by torch-pruning, over the test suite.

    pip install -c constraints.txt torch-pruning   # with --no-deps where torch is there already
    python projects/benchmarks/removal.py [NAME ...] [--markdown FILE]

Both get the model and example inputs and nothing else, except that torch-pruning gets the names of
the layers that write the model's output, which it would otherwise prune. Each is stopped after 60
seconds. Seconds are processor time of one thread; for NodeLens, those of the forwards of its
equivalence check are counted apart. ``--large`` takes a ResNet-50, a ViT-B/16 and a Swin-T instead.
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
from nodelens.removal import as_used, caches, equivalence, forward
from nodelens.removal.removal import remove
from nodelens.removal.verify import random_keep

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
    beside: float = 0.0

    def cell(self) -> str:
        """Return the outcome for a table."""
        if self.error:
            return f"fails: {self.error}"
        beside = f" ({self.beside:.2f} s beside its forwards)" if self.beside else ""
        smaller = f"-{100 * self.fraction:.0f} % parameters"
        return f"runs, {smaller} {self.note}, {self.seconds:.2f} s{beside}"


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
    started = time.process_time()
    graph = infer(model, *args, **kwargs)
    inferred = time.process_time() - started
    prunable = [group for group in graph if group.prunable]
    before = size(model)
    keep = {group.name: random_keep(group, 0.5, seed=0) for group in prunable}
    with timed_forwards() as forwards:
        removal = remove(model, graph, keep, *args, refused="keep", **kwargs)
    seconds = time.process_time() - started
    call(model, inputs)
    statuses = {verdict.status for verdict in removal.verdicts}
    note = "exact" if statuses <= {"exact"} else "exact but for normalised groups"
    refused = len(removal.refused)
    note += f"; {refused} of {len(prunable)} groups refused" if refused else ""
    return Outcome(
        len(prunable),
        1 - size(model) / before,
        seconds,
        note=f"({note})",
        inferred=inferred,
        beside=seconds - sum(forwards),
    )


@contextmanager
def timed_forwards() -> Iterator[list[float]]:
    """Note the processor time of every forward of the equivalence check."""
    spent: list[float] = []
    plain = forward.forward

    def timed(*args: object, **options: object) -> object:
        started = time.process_time()
        try:
            return plain(*args, **options)
        finally:
            spent.append(time.process_time() - started)

    users = (as_used, caches, equivalence)
    try:
        for module in users:
            module.forward = timed
        yield spent
    finally:
        for module in users:
            module.forward = plain


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
    started = time.process_time()
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
    seconds = time.process_time() - started
    call(model, inputs)
    fraction = 1 - size(model) / before
    if fraction <= 0:
        return Outcome(groups, 0.0, seconds, error="nothing was pruned, without a message")
    return Outcome(groups, fraction, seconds)


def attempt(
    tool: Callable[[nn.Module, object], Outcome], model: nn.Module, inputs: object
) -> Outcome:
    """Run one tool; an exception is its result."""
    started = time.process_time()
    try:
        with stopped_after(LIMIT):
            return tool(copy.deepcopy(model), inputs)
    except ModelError as error:
        return Outcome(0, 0.0, time.process_time() - started, error=f"refused: {error}"[:160])
    except Exception as error:  # noqa: BLE001 - the failure is what is measured
        text = (str(error).strip().splitlines() or [""])[0][:70]
        return Outcome(0, 0.0, time.process_time() - started, f"{type(error).__name__}: {text}")


def large() -> dict[str, Callable[[], tuple[nn.Module, object]]]:
    """Return models of standard size by name, each with one row of 224 pixels."""
    from transformers import AutoConfig, AutoModelForImageClassification

    def make(kind: str) -> tuple[nn.Module, object]:
        model = AutoModelForImageClassification.from_config(AutoConfig.for_model(kind))
        return model.eval(), {"pixel_values": torch.randn(1, 3, 224, 224)}

    names = {"ResNet-50": "resnet", "ViT-B/16": "vit", "Swin-T": "swin"}
    return {name: lambda kind=kind: make(kind) for name, kind in names.items()}


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
    parser.add_argument("--large", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    models = large() if options.large else suite()
    chosen = {n: make for n, make in models.items() if not options.names or n in options.names}
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
    beside = sorted(row[1].beside for row in rows)
    print(f"beside forwards: median {beside[len(beside) // 2]:.2f} s, most {beside[-1]:.2f} s")
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

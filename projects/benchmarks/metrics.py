"""Many metrics together, and single metrics beside other libraries, as ratios.

    python projects/benchmarks/metrics.py [together] [conductance] [hessian] [ranks] [spectrum]

Captum, curvlinops and WeightWatcher are compared with where they are installed. Every ratio of
times is of medians over interleaved rounds in one process; every peak of memory is that of a
process of its own, which imports what it needs and does the work once.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import nodelens

Works = dict[str, Callable[[], object]]
"""Works to compare by name; the others are divided by the first."""

FORTY = [
    *("weight_l1", "weight_l2", "weight_linf", "outgoing_l1", "outgoing_l2", "group_l2", "lamp"),
    *("fpgm", "outgoing_entropy", "weight_cosine", "activation_mean", "activation_mean_abs"),
    *("activation_rms", "activation_variance", "zero_fraction", "kurtosis", "skewness", "minitron"),
    *("outlier_index", "wanda_sp", "flap_wifv", "independent_contribution", "ria", "dass"),
    *("rayleigh_quotient", "input_information", "leverage", "redundancy", "peer_redundancy"),
    *("class_selectivity", "fisher_ratio", "class_information", "taylor", "taylor_2016", "snip"),
    *("token_taylor", "first_order", "sample_fisher", "loss_proxy", "gradient_norm"),
]
PROBES = 8


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Conv2d(64, 128, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Conv2d(128, 256, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(256, 10)).eval()


def images(count: int = 512) -> list[tuple[Tensor, Tensor]]:
    random = torch.Generator().manual_seed(0)
    x = torch.randn(count, 3, 32, 32, generator=random)
    y = torch.randint(10, (count,), generator=random)
    return list(zip(x.split(64), y.split(64), strict=True))


def together() -> Works:
    model, data = network(), images()

    def one_by_one() -> None:
        for name in FORTY:
            nodelens.score(model, data, [name])

    return {"together": lambda: nodelens.score(model, data, FORTY), "one by one": one_by_one}


def conductance() -> Works:
    model, (x, y) = network(), images(16)[0]
    metric = {"name": "conductance", "steps": 50}

    def by_captum(kind: str, *neuron: object) -> object:
        import captum.attr

        attribution = getattr(captum.attr, kind)(model, model[3])
        return attribution.attribute(x, *neuron, target=y, n_steps=50)

    works: Works = {"NodeLens, all layers": lambda: nodelens.score(model, [(x, y)], [metric])}
    if importlib.util.find_spec("captum"):
        works["captum LayerConductance, one layer"] = lambda: by_captum("LayerConductance")
        works["captum NeuronConductance, 1 neuron of 32,768"] = lambda: by_captum(
            "NeuronConductance", (0, 0, 0)
        )
    return works


def perceptron(width: int) -> nn.Module:
    torch.manual_seed(0)
    hidden = [nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(*hidden, nn.Linear(width, 10)).eval()


def hessian() -> Works:
    """Return traces of all nodes of a network whose products take longer than a call."""
    from nodelens.capture.batches import Batch
    from nodelens.capture.losses import row_losses
    from nodelens_metrics.curvature.hessian_products import product_with

    model, random = perceptron(1024), torch.Generator().manual_seed(0)
    x, y = torch.randn(512, 1024, generator=random), torch.randint(10, (512,), generator=random)
    metric, more = ({"name": "hessian_trace", "probes": n * PROBES} for n in (1, 3))
    weights = [each.requires_grad_() for each in model.parameters()]

    def gradients() -> None:
        for _ in range(PROBES):
            torch.autograd.grad(F.cross_entropy(model(x), y, reduction="sum"), weights)

    def products() -> None:
        product = product_with("hessian", model, Batch((x,), targets=y), row_losses, weights)
        for _ in range(PROBES):
            product([torch.randint_like(each, 2) * 2 - 1 for each in weights])

    works: Works = {
        f"{PROBES} gradients": gradients,
        f"NodeLens, {PROBES} products, all nodes": products,
        f"NodeLens, {PROBES} probes, all nodes, errors": lambda: nodelens.score(
            model, [(x, y)], [metric], folds=2
        ),
        f"NodeLens, {3 * PROBES} probes, all nodes, errors": lambda: nodelens.score(
            model, [(x, y)], [more], folds=2
        ),
    }
    if importlib.util.find_spec("curvlinops") and importlib.util.find_spec("linear_operator"):
        works[f"curvlinops, {PROBES} probes, one total"] = lambda: one_total(model, x, y)
    return works


def one_total(model: nn.Module, x: Tensor, y: Tensor) -> object:
    """Return the trace of the whole Hessian by curvlinops."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from curvlinops import HessianLinearOperator, hutchinson_trace

        loss, parameters = nn.CrossEntropyLoss(reduction="sum"), [*model.parameters()]
        operator = HessianLinearOperator(
            model, loss, parameters, [(x, y)], check_deterministic=False
        )
        return hutchinson_trace(operator, num_matvecs=PROBES)


def spectrum() -> Works:
    from nodelens_metrics.mathematics.spectra import power_law, squared_singular_values

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4096, 4096, bias=False))
    weight = model[0].weight.detach().normal_()

    def watch() -> None:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import weightwatcher

            weightwatcher.WeightWatcher(model=model).analyze(plot=False)

    works: Works = {"NodeLens": lambda: power_law(squared_singular_values(weight.double()))}
    if importlib.util.find_spec("weightwatcher"):
        works["WeightWatcher"] = watch
    return works


def ranks() -> Works:
    from nodelens_metrics.mathematics.spectra import effective_rank, effective_rank_without_each

    torch.manual_seed(0)
    covariance = torch.cov(torch.randn(512, 2048, dtype=torch.float64))

    def one_by_one() -> Tensor:
        others = [[k for k in range(512) if k != node] for node in range(512)]
        left = (torch.linalg.eigvalsh(covariance[rows][:, rows]) for rows in others)
        return torch.stack([effective_rank(values) for values in left])

    return {
        "NodeLens": lambda: effective_rank_without_each(covariance),
        "torch, eigenvalues of every rest": one_by_one,
    }


PARTS: dict[str, tuple[Callable[[], Works], int, str]] = {
    "together": (together, 2, "40 metrics of a three-layer CNN, 512 images of 3 x 32 x 32"),
    "conductance": (conductance, 3, "conductance of a CNN's channels, 50 steps, 16 images"),
    "hessian": (hessian, 9, "traces of the Hessian over a perceptron's 2,048 nodes, 512 rows"),
    "ranks": (ranks, 3, "effective rank of 512 nodes without each of them"),
    "spectrum": (spectrum, 1, "power law of the spectrum of a 4,096 x 4,096 weight"),
}


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def times_of(works: Works, rounds: int) -> dict[str, list[float]]:
    """Return the times of each work in interleaved rounds, after one to warm up."""
    for work in works.values():
        work()
    found = [{name: seconds(work) for name, work in works.items()} for _ in range(rounds)]
    return {name: [each[name] for each in found] for name in works}


def peak_of(part: str, name: str) -> float:
    """Return the peak of a process's memory in MiB that does one work."""
    command = [sys.executable, __file__, "peak", part, name]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


def report(part: str) -> None:
    """Print the median time and the peak memory of each work, and their ratios to the first's."""
    made, rounds, title = PARTS[part]
    print(title)
    times = times_of(made(), rounds)
    peaks = {name: peak_of(part, name) for name in times}
    base = next(iter(times))
    for name, found in times.items():
        own = [t / b for t, b in zip(found, times[base], strict=True)]
        middle = statistics.median(found)
        print(
            f"  {name:46} {middle:8.3f} s {statistics.median(own):7.2f} x "
            f"({min(own):.2f} to {max(own):.2f})"
            f"   {peaks[name]:6.0f} MiB {peaks[name] / peaks[base]:5.2f} x",
            flush=True,
        )


def main(chosen: list[str]) -> None:
    if chosen[:1] == ["peak"]:
        PARTS[chosen[1]][0]()[chosen[2]]()
        status = Path("/proc/self/status").read_text().splitlines()  # VmHWM starts anew at exec
        print(next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM:")))
        return
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    for part in chosen or PARTS:
        report(part)


if __name__ == "__main__":
    main(sys.argv[1:])

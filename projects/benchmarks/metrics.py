"""Many metrics together, and single ones beside the libraries that have them, as ratios.

python projects/benchmarks/metrics.py [together] [conductance] [hessian] [spectrum]

Captum, curvlinops and WeightWatcher are compared with where they are installed. Every ratio is of
medians over interleaved rounds in one process.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import nodelens

ROUNDS = 3
FORTY = [
    *("weight_l1", "weight_l2", "weight_linf", "outgoing_l1", "outgoing_l2", "group_l2", "lamp"),
    *("fpgm", "outgoing_entropy", "weight_cosine", "activation_mean", "activation_mean_abs"),
    *("activation_rms", "activation_variance", "zero_fraction", "kurtosis", "skewness", "minitron"),
    *("outlier_index", "wanda_sp", "flap_wifv", "independent_contribution", "ria", "dass"),
    *("rayleigh_quotient", "input_information", "leverage", "redundancy", "peer_redundancy"),
    *("class_selectivity", "fisher_ratio", "class_information", "taylor", "taylor_2016", "snip"),
    *("token_taylor", "first_order", "sample_fisher", "loss_proxy", "gradient_norm"),
]


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


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def report(base: str, works: dict[str, Callable[[], object]], rounds: int = ROUNDS) -> None:
    """Print the median time of each work and its ratio to that of `base`."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values():
        work()
    for _ in range(rounds):
        for name, work in works.items():
            times[name].append(seconds(work))
    middle = {name: statistics.median(found) for name, found in times.items()}
    for name, value in middle.items():
        own = [value / middle[base] for value in times[name]]
        spread = f"rounds {min(own):.2f} to {max(own):.2f}"
        print(f"  {name:48} {value:9.3f} s {value / middle[base]:9.2f} x   {spread}")


def score_together() -> None:
    nodelens.score(network(), images(), FORTY)


def score_one_by_one() -> None:
    model, data = network(), images()
    for name in FORTY:
        nodelens.score(model, data, [name])


def together() -> None:
    assert len(FORTY) == 40
    print("40 metrics of a three-layer CNN, 512 images of 3 x 32 x 32")
    report("together", {"together": score_together, "one by one": score_one_by_one}, rounds=2)
    for name in ("score_together", "score_one_by_one"):
        command = [sys.executable, __file__, "peak", name]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        print(f"  peak memory of {name:32} {float(done.stdout):9.0f} MiB")


def conductance() -> None:
    model, (x, y) = network(), images(16)[0]
    print("conductance of all 128 channels of the second convolution, 50 steps, 16 images")
    metric = {"name": "conductance", "steps": 50}
    works = {"NodeLens, all layers": lambda: nodelens.score(model, [(x, y)], [metric])}
    if importlib.util.find_spec("captum"):
        from captum.attr import LayerConductance, NeuronConductance

        layer, neuron = LayerConductance(model, model[3]), NeuronConductance(model, model[3])
        options = {"target": y, "n_steps": 50}
        works["captum LayerConductance, one layer"] = lambda: layer.attribute(x, **options)

        works["captum NeuronConductance, 1 neuron of 32,768"] = lambda: neuron.attribute(
            x, (0, 0, 0), target=y, n_steps=50
        )
    report("NodeLens, all layers", works)


def perceptron() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)
    ).eval()


def hessian() -> None:
    model = perceptron()
    random = torch.Generator().manual_seed(0)
    x, y = torch.randn(256, 64, generator=random), torch.randint(10, (256,), generator=random)
    print("traces of the Hessian over the weights of every node, 8 probes, 256 rows")
    metric = {"name": "hessian_trace", "probes": 8}

    def gradients() -> None:
        for parameter in model.parameters():
            parameter.requires_grad_()
        for _ in range(8):
            F.cross_entropy(model(x), y, reduction="sum").backward()
            model.zero_grad()

    works: dict[str, Callable[[], object]] = {
        "8 gradients": gradients,
        "NodeLens, all nodes, with standard errors": lambda: nodelens.score(
            model, [(x, y)], [metric], folds=2
        ),
    }
    needed = ("curvlinops", "einops", "linear_operator")
    if all(map(importlib.util.find_spec, needed)):
        from curvlinops import HessianLinearOperator, hutchinson_trace

        def total() -> None:
            parameters = [p.requires_grad_() for p in model.parameters()]
            loss = nn.CrossEntropyLoss(reduction="sum")
            operator = HessianLinearOperator(
                model, loss, parameters, [(x, y)], check_deterministic=False
            )
            hutchinson_trace(operator, num_matvecs=8)

        works["curvlinops, one total"] = total
    report("8 gradients", works)


def spectrum() -> None:
    from nodelens_metrics.spectra import power_law, squared_singular_values

    torch.manual_seed(0)
    weight = torch.randn(4096, 4096)
    print("power law of the spectrum of a 4,096 x 4,096 weight")
    works: dict[str, Callable[[], object]] = {
        "NodeLens": lambda: power_law(squared_singular_values(weight.double())),
    }
    if importlib.util.find_spec("weightwatcher"):
        with contextlib.redirect_stdout(io.StringIO()):
            import weightwatcher

        model = nn.Sequential(nn.Linear(4096, 4096, bias=False))
        model[0].weight.data = weight

        def watch() -> None:
            with contextlib.redirect_stdout(io.StringIO()):
                weightwatcher.WeightWatcher(model=model).analyze(plot=False)

        works["WeightWatcher"] = watch
    report("NodeLens", works, rounds=1)


def peak(name: str) -> None:
    {"score_together": score_together, "score_one_by_one": score_one_by_one}[name]()
    status = Path("/proc/self/status").read_text().splitlines()  # VmHWM starts anew at exec
    print(next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM:")))


def main(chosen: list[str]) -> None:
    if chosen[:1] == ["peak"]:
        peak(chosen[1])
        return
    parts = {
        "together": together,
        "conductance": conductance,
        "hessian": hessian,
        "spectrum": spectrum,
    }
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    for name in chosen or parts:
        parts[name]()


if __name__ == "__main__":
    main(sys.argv[1:])

"""Time of the streaming pass relative to a plain forward or training step, and its memory.

python projects/benchmarks/capture.py [forward] [gradient] [gram] [memory]

Every ratio is the median of rounds in one process, each a work over the base right before and after
it; the spread is that of the middle half of the rounds, and beside it stands the fastest work over
the fastest base. On a CPU it is processor time on one thread, which other work on the machine
lengthens by way of the caches only; on a GPU it is time on the wall. Memory is the peak of a
process of its own.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nodelens.capture.engine import run_capture
from nodelens.capture.plan.capture_plan import CapturePlan, PlanEntry
from nodelens.capture.request import CaptureRequest
from nodelens.channels.groups import ChannelGraph
from nodelens.channels.infer import infer
from nodelens.interfaces.statistic import Layout, Reading
from nodelens.statistics.gradients import GradientMoments, RowGradients
from nodelens.statistics.gram import Gram
from nodelens.statistics.magnitudes import Magnitudes
from nodelens.statistics.moments import Moments, RowMoments

ROUNDS = 9
BATCHES = {"images": 16, "texts": 2}
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Basic(nn.Module):
    """The residual block of a ResNet-18."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)])
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            convolution = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(convolution, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norms[0](self.first(x)), inplace=True)
        return F.relu(self.norms[1](self.second(y)) + self.shortcut(x), inplace=True)


def resnet18() -> nn.Module:
    stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True)]
    widths = [(64, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1)]
    widths += [(128, 256, 2), (256, 256, 1), (256, 512, 2), (512, 512, 1)]
    blocks = [Basic(*width) for width in widths]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000)]
    return nn.Sequential(*stem, nn.MaxPool2d(3, 2, 1), *blocks, *head).eval()


def gpt2() -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(use_cache=False)).eval()


def images() -> list[tuple[Tensor, Tensor]]:
    shape, count = (16, 3, 112, 112), BATCHES["images"]
    return [(torch.randn(shape), torch.randint(1000, (16,))) for _ in range(count)]


def texts() -> list[tuple[Tensor, Tensor]]:
    drawn = [torch.randint(50257, (8, 128)) for _ in range(BATCHES["texts"])]
    return [(tokens, tokens.roll(-1, 1)) for tokens in drawn]


class Workload:
    """A model, its batches on the device and its channel graph."""

    def __init__(self, model: nn.Module, batches: list[tuple[Tensor, Tensor]]) -> None:
        self.model = model.to(DEVICE)
        self.batches = [(x.to(DEVICE), y.to(DEVICE)) for x, y in batches]
        self.graph: ChannelGraph = infer(self.model, self.batches[0][0][:2])

    def plan(self, statistics: tuple, kinds: tuple[str, ...] = ()) -> CapturePlan:
        chosen = [
            group
            for group in self.graph
            if group.at("activation") and (not kinds or group.kind in kinds)
        ]
        return CapturePlan(tuple(PlanEntry(group, statistics) for group in chosen), folds=8)

    def capture(self, plan: CapturePlan) -> Callable[[], None]:
        request = CaptureRequest(self.model, self.graph, self.batches, plan, DEVICE)
        return lambda: (run_capture(request), None)[1]

    def forward(self) -> None:
        with torch.no_grad():
            for x, _ in self.batches:
                self.model(x)

    def training_step(self) -> None:
        for x, y in self.batches:
            logits = self.model(x)
            logits = logits if isinstance(logits, Tensor) else logits.logits
            F.cross_entropy(logits.flatten(0, -2), y.flatten(), reduction="sum").backward()
            self.model.zero_grad(set_to_none=True)


def seconds(work: Callable[[], None]) -> float:
    if DEVICE.type == "cpu":
        started = time.process_time()
        work()
        return time.process_time() - started
    torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - started


def ratios(base: Callable[[], None], works: dict[str, Callable[[], None]]) -> None:
    """Print the time of each work over that of `base` right before and after it, round by round."""
    times: dict[str, list[float]] = {name: [] for name in works}
    own: dict[str, list[float]] = {name: [] for name in works}
    for work in (base, *works.values()):
        seconds(work)  # once to warm up
    bases = [seconds(base)]
    for _ in range(ROUNDS):
        for name, work in works.items():
            times[name].append(seconds(work))
            bases.append(seconds(base))
            own[name].append(2 * times[name][-1] / (bases[-2] + bases[-1]))
    print(f"  {'the base itself':44} {1000 * statistics.median(bases):8.1f} ms")
    for name, found in own.items():
        low, middle, high = statistics.quantiles(found, n=4)
        fastest = min(times[name]) / min(bases)
        print(f"  {name:44} {middle:6.3f} x  ({low:.3f} to {high:.3f}), fastest {fastest:.3f}")


MOMENTS = (Moments(reads="preactivation"),)
ALL = (
    Moments(reads="preactivation", order=4),
    Magnitudes(reads="preactivation"),
    RowMoments(reads="preactivation"),
)
NEURONS = (Moments(), Moments(order=4), Magnitudes(), RowMoments())


def forward() -> None:
    print("ResNet-18, 16 x 3 x 112 x 112, every convolution; base: forward under no_grad")
    net = Workload(resnet18(), images())
    works = {
        "moments to second order (B1)": net.capture(net.plan(MOMENTS)),
        "moments to fourth order, extremes (B1, B2)": net.capture(net.plan(ALL)),
    }
    ratios(net.forward, works)
    print("GPT-2 small, 8 x 128 tokens, MLP neurons; base: forward under no_grad")
    lm = Workload(gpt2(), texts())
    works = {
        "moments to second order (B1)": lm.capture(lm.plan(NEURONS[:1], ("neurons",))),
        "moments to fourth order, extremes (B1, B2)": lm.capture(
            lm.plan(NEURONS[1:], ("neurons",))
        ),
    }
    ratios(lm.forward, works)


def gradient() -> None:
    chosen = (GradientMoments(), RowGradients())
    print("all gradient statistics (B3, B4); base: forward and backward of a training step")
    for name, workload, kinds in (
        ("ResNet-18, every group", Workload(resnet18(), images()), ()),
        ("GPT-2 small, MLP neurons", Workload(gpt2(), texts()), ("neurons",)),
    ):
        print(f" {name}")
        ratios(workload.training_step, {"capture": workload.capture(workload.plan(chosen, kinds))})


def gram() -> None:
    print("Gram of 4,096 channels, 8 x 128 tokens, one fold; base: the full product alone")
    values = torch.randn(8, 128, 4096, device=DEVICE)
    flat, statistic = values.flatten(0, 1), Gram()
    state = statistic.start(Layout(4096, 1, DEVICE))
    fold = torch.zeros(8, dtype=torch.int64, device=DEVICE)
    index = torch.arange(8, device=DEVICE)
    pivot = flat.mean(0).double()
    reading = Reading(values, fold, index=index, pivot=pivot)
    ratios(lambda: (flat.T @ flat, None)[1], {"update": lambda: statistic.update(state, reading)})
    print("GPT-2 small, Gram of all MLP neurons in one fold; base: forward under no_grad")
    lm = Workload(gpt2(), texts())
    works = {}
    for name, each in (
        ("every token", Gram()),
        ("position_fraction: 0.125", Gram(position_fraction=0.125)),
    ):
        plan = lm.plan((each,), ("neurons",))
        works[name] = lm.capture(CapturePlan(plan.entries, folds=8, quadratic_folds=1))
    ratios(lm.forward, works)


def rows(count: int) -> Iterator[Tensor]:
    random = torch.Generator().manual_seed(0)
    for first in range(0, count, 250):
        yield torch.randn(min(250, count - first), 64, generator=random)


def peak(count: int) -> None:
    """Print the peak memory of a capture of `count` samples, in MiB."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 10))
    graph = infer(model, torch.randn(2, 64))
    statistics = (Moments(order=4), Magnitudes(), RowMoments(), Gram())
    entries = tuple(PlanEntry(g, statistics) for g in graph if g.at("activation"))
    run_capture(
        CaptureRequest(model, graph, rows(count), CapturePlan(entries), torch.device("cpu"))
    )
    print(peak_mebibytes())


def peak_mebibytes() -> float:
    """Return the largest resident memory since this process began its program (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no VmHWM in /proc/self/status: this needs Linux")


def memory() -> None:
    print("peak memory of a process that captures moments and a Gram of 512 neurons")
    for count in (1_000, 10_000, 100_000):
        command = [sys.executable, __file__, "peak", str(count)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        print(f"  {count:8,} samples {float(done.stdout):8.1f} MiB")


def main(chosen: list[str]) -> None:
    if chosen[:1] == ["peak"]:
        peak(int(chosen[1]))
        return
    torch.manual_seed(0)
    if DEVICE.type == "cpu":
        torch.set_num_threads(1)
    parts = {"forward": forward, "gradient": gradient, "gram": gram, "memory": memory}
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {DEVICE}")
    for name in chosen or parts:
        parts[name]()


if __name__ == "__main__":
    main(sys.argv[1:])

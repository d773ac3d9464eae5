"""Time and memory of capture on a language model, and which pruned models reload.

python projects/benchmarks/language_models.py [speed] [memory] [reload]

The model has random weights and layers of the shape of SmolLM2-135M. Speed is the ratio of medians
over interleaved rounds in one process, in processor time of one thread. Memory is the peak of a
process of its own, over that of the plain passes. Reload prunes every transformers family of the
tests, saves it, and compares the outputs of one fresh process bit by bit.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nodelens.capture.engine import run_capture
from nodelens.capture.plan.capture_plan import CapturePlan, PlanEntry
from nodelens.capture.request import CaptureRequest
from nodelens.channels.groups import ChannelGraph
from nodelens.channels.infer import infer
from nodelens.statistics.gradients import GradientMoments, RowGradients
from nodelens.statistics.gram import Gram
from nodelens.statistics.magnitudes import Magnitudes
from nodelens.statistics.moments import Moments, RowMoments

ROOT = Path(__file__).parents[2]
ROUNDS = 5
ROWS, WINDOW, VOCABULARY = 4, 128, 8192
ACTIVATIONS = (Moments(order=4), Magnitudes(), RowMoments())
GRADIENTS = (GradientMoments(), RowGradients())
STATISTICS = {
    "activations": ACTIVATIONS,
    "gradients": GRADIENTS,
    "covariances": (*ACTIVATIONS, *GRADIENTS, Gram()),
}
MIB = 2**20


def llama(layers: int, width: int) -> nn.Module:
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(
        "llama", hidden_size=width, intermediate_size=width * 8 // 3, num_hidden_layers=layers,
        num_attention_heads=width // 64, num_key_value_heads=width // 192, vocab_size=VOCABULARY,
        use_cache=False, max_position_embeddings=1024, tie_word_embeddings=True,
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)


class Workload:
    """A model, some batches of tokens, and its channel graph."""

    def __init__(self, batches: int, layers: int = 4, width: int = 576) -> None:
        torch.manual_seed(0)
        self.model = llama(layers, width)
        drawn = [torch.randint(VOCABULARY, (ROWS, WINDOW)) for _ in range(batches)]
        self.batches = [(tokens, tokens.roll(-1, 1)) for tokens in drawn]
        self.graph: ChannelGraph = infer(self.model, drawn[0][:2, :7])

    def plan(self, name: str) -> CapturePlan:
        groups = [group for group in self.graph if group.at("activation")]
        return CapturePlan(tuple(PlanEntry(group, STATISTICS[name]) for group in groups), folds=8)

    def capture(self, plan: CapturePlan) -> None:
        cpu = torch.device("cpu")
        run_capture(CaptureRequest(self.model, self.graph, self.batches, plan, cpu))

    def forward(self) -> None:
        with torch.no_grad():
            for tokens, _ in self.batches:
                self.model(tokens)

    def backward(self) -> None:
        """Run forward and backward of the activations: no parameter gets a gradient."""
        for tokens, targets in self.batches:
            embedded: Tensor = self.model.get_input_embeddings()(tokens).requires_grad_()
            logits = self.model(inputs_embeds=embedded).logits
            F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum").backward()


def seconds(work: Callable[[], None]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def speed() -> None:
    workload = Workload(batches=2)
    tokens = 2 * ROWS * WINDOW
    plans = {name: workload.plan(name) for name in ("activations", "gradients")}
    works: dict[str, Callable[[], None]] = {
        "forward": workload.forward,
        "activation statistics": lambda: workload.capture(plans["activations"]),
        "forward and backward of activations": workload.backward,
        "gradient statistics": lambda: workload.capture(plans["gradients"]),
    }
    times: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values():
        work()  # once to warm up
    for _ in range(ROUNDS):
        for name, work in works.items():
            times[name].append(seconds(work))
    nodes = sum(entry.group.width for entry in plans["activations"].entries)
    print(f"{tokens} tokens in {ROWS} x {WINDOW}, {nodes} nodes; tokens per second, and the ratio")
    names = list(works)
    for base, name in zip(names[::2], names[1::2], strict=True):
        ratios = sorted(a / b for a, b in zip(times[base], times[name], strict=True))
        middle = statistics.median(times[base]) / statistics.median(times[name])
        print(f"  {base:38} {tokens / statistics.median(times[base]):8.0f}")
        print(
            f"  {name:38} {tokens / statistics.median(times[name]):8.0f}   {middle:.2f} of it, "
            f"rounds {ratios[0]:.2f} to {ratios[-1]:.2f}"
        )


def peak(name: str, captured: bool) -> None:
    """Print the peak memory of a process, and the plan's figure, in MiB.

    A capture of a much smaller model comes first, so that the code that runs is in memory.
    """
    small = Workload(batches=1, layers=1, width=192)
    small.capture(small.plan(name))
    workload = Workload(batches=4)
    plan = workload.plan(name)
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    work = workload.forward if name == "activations" else workload.backward
    work()
    if captured:
        workload.capture(plan)
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            print(int(line.split()[1]) / 1024, plan.peak_bytes / MIB)


def memory() -> None:
    batch = ROWS * WINDOW * 1536 * 8 / MIB
    print(f"peak memory in MiB; one batch of 1,536 nodes in float64 is {batch:.1f} MiB")
    print(f"  {'statistics':14} {'plain':>8} {'capture':>8} {'over it':>8} {'the plan':>8}")
    for name in STATISTICS:
        found = []
        for mode in ("plain", "capture"):
            command = [sys.executable, __file__, "peak", name, mode]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found.append([float(value) for value in done.stdout.split()])
        (plain, figure), (captured, _) = found
        row = (plain, captured, captured - plain, figure)
        print(f"  {name:14} " + " ".join(f"{value:8.1f}" for value in row))


def reload() -> None:
    sys.path.insert(0, str(ROOT))
    from tests.hf import architectures, folders
    from transformers.utils import logging

    logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        made = [
            folders.write(name, cut, architectures.build(name), root / f"{name}.{cut}")
            for name in architectures.SUITE
            for cut in folders.CUTS
        ]
        found = folders.read(root)
        print("| family | half of | loads with | fresh process | why not plain from_pretrained |")
        print("|---|---|---|---|---|")
        for facts in made:
            print(_row(facts, found, root))


def _row(facts: dict, found: dict, root: Path) -> str:
    name, cut = facts["name"], facts["cut"]
    if facts["kind"] is None:
        return f"| {name} | {cut} | | | has no attention heads |"
    folder = f"{name}.{cut}"
    loaded = found[folder]
    ways = ["nodelens_hf"] if facts["loader"] == "nodelens_hf" else ["transformers", "nodelens_hf"]
    same = all(loaded[way] == 0.0 for way in ways)
    card = (root / folder / "README.md").read_text()
    why = card.partition("In this way only: ")[2].strip().removesuffix(".")
    what = facts["kind"] + (" of one layer" if cut.endswith("one layer") else "")
    equal = "equal" if same else f"differs: {loaded}"
    return f"| {name} | {what} | {', '.join(ways)} | {equal} | {why} |"


def main(chosen: list[str]) -> None:
    torch.set_num_threads(1)
    if chosen[:1] == ["peak"]:
        peak(chosen[1], chosen[2] == "capture")
        return
    parts = {"speed": speed, "memory": memory, "reload": reload}
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread")
    for name in chosen or parts:
        parts[name]()


if __name__ == "__main__":
    main(sys.argv[1:])

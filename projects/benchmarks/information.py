"""Information metrics beside a matrix product, THOI, hoi and scikit-learn: time and memory.

    pip install -c constraints.txt scikit-learn
    pip install --no-deps --target FOLDER thoi tqdm hoi pandas jax jaxlib jax-tqdm
    pip install --no-deps --target FOLDER chex toolz absl-py ml_dtypes opt_einsum
    python projects/benchmarks/information.py [FAMILY ...] [--libraries FOLDER] [--markdown FILE]

Both sides of a row take turns in one process and the shortest time of each counts. In brackets is
the time of processors over all threads, which other programs on the machine change less. Memory is
the peak of a process of its own that does the work once, over what it held before. Where a library
cannot be imported its rows are left out, and the table says so. What both sides estimate must
agree.
"""

from __future__ import annotations

import argparse
import logging
import math
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from attrs import frozen
from sklearn.feature_selection import mutual_info_classif

from nodelens_metrics.information.sets import measure_biases
from nodelens_metrics.mathematics.estimators import (
    copula_label_information,
    label_information,
    normal_scores,
)
from nodelens_metrics.mathematics.neighbours import ksg_label_information
from nodelens_metrics.mathematics.pairwise import pairwise_information
from nodelens_metrics.mathematics.total_correlation import o_information_of_triplets

Work = Callable[[], object]


@frozen
class Row:
    """One comparison: name, ours, theirs, and the required ratio."""

    what: str
    ours: tuple[str, Work]
    theirs: tuple[str, Work]
    wanted: str = "—"
    same: Callable[[Any], torch.Tensor] | None = None
    """Conversion of their result into ours, where both estimate one quantity."""


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def pairs() -> Iterator[Row]:
    x = normal(16_384, 4_096)
    product = ("full product xᵀx", lambda: x.T @ x)
    for name, options in (("means", {}), ("10 largest partners", {"top": 10})):
        yield Row(
            f"all pairs of 4,096 channels × 16,384 samples: {name}",
            ("pairwise_information", lambda options=options: pairwise_information(x, **options)),
            product,
            "at most 0.7 of the time",
        )


def variables() -> torch.Tensor:
    return normal(2_000, 100).double() @ normal(100, 100).double()


def triplets() -> Iterator[Row]:
    from thoi.measures.gaussian_copula import nplets_measures

    covariance = torch.corrcoef(variables().T)
    every = torch.combinations(torch.arange(100), 3)
    yield Row(
        "O-information of all 161,700 triplets of 100 variables, from their covariance",
        ("o_information_of_triplets", lambda: o_information_of_triplets(covariance)),
        (
            "THOI nplets_measures",
            lambda: nplets_measures(
                covariance, every, covmat_precomputed=True, verbose=logging.CRITICAL
            ),
        ),
        "8 times as fast",
        lambda theirs: theirs[..., 2].flatten(),
    )


def copulas() -> Iterator[Row]:
    import jax

    jax.config.update("jax_enable_x64", True)
    from hoi.metrics import Oinfo

    x = variables()

    def ours() -> torch.Tensor:
        bias = measure_biases("o", 3, torch.tensor(float(len(x))))[3]
        return o_information_of_triplets(torch.corrcoef(normal_scores(x).T)) - bias

    yield Row(
        "O-information of all 161,700 triplets of 100 variables × 2,000 samples, by their copula",
        ("normal_scores, o_information_of_triplets", ours),
        (
            "hoi Oinfo",
            lambda: Oinfo(x.numpy(), verbose=False).fit(minsize=3, maxsize=3, method="gc"),
        ),
        same=lambda theirs: torch.tensor(theirs[:, 0]) * math.log(2),
    )


def labels() -> Iterator[Row]:
    y = torch.arange(5_000) % 10
    x = normal(5_000, 512) + 0.1 * y[:, None] * torch.linspace(0, 1, 512)
    theirs = (
        "scikit-learn mutual_info_classif",
        lambda: mutual_info_classif(x.numpy(), y.numpy(), random_state=0),
    )
    estimates = {
        "binned, bias corrected": label_information,
        "copula": copula_label_information,
        "KSG, the same estimate": ksg_label_information,
    }
    for name, estimate in estimates.items():
        yield Row(
            f"label of 512 channels × 5,000 samples: {name}",
            (estimate.__name__, lambda estimate=estimate: estimate(x, y)),
            theirs,
            "50 times as fast" if "binned" in name else "—",
            torch.from_numpy if "KSG" in name else None,
        )


@frozen
class Seconds:
    """Seconds of a run on the wall, and of processors over all threads."""

    wall: float
    processor: float

    def __str__(self) -> str:
        return f"{self.wall:.3g} s ({self.processor:.3g} s)"


def seconds(work: Work) -> Seconds:
    started = time.perf_counter(), time.process_time()
    with redirect_stderr(StringIO()):
        work()
    return Seconds(time.perf_counter() - started[0], time.process_time() - started[1])


def shortest(runs: list[Seconds]) -> Seconds:
    return Seconds(min(run.wall for run in runs), min(run.processor for run in runs))


def measured(row: Row, repeats: int) -> tuple[Seconds, Seconds]:
    """Return the shortest times of ours and theirs; the first run of each is not counted."""
    runs = [(seconds(row.ours[1]), seconds(row.theirs[1])) for _ in range(repeats + 1)]
    return shortest([ours for ours, _ in runs[1:]]), shortest([theirs for _, theirs in runs[1:]])


def resident(field: str) -> float:
    """Return a number of /proc about this process in MiB: VmRSS, or its peak VmHWM."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1024


def peak(options: argparse.Namespace, family: str, number: int, side: str) -> float:
    """Return the peak memory in MiB of one side's work in a process of its own."""
    command = [sys.executable, __file__, family, "--alone", f"{number}.{side}"]
    command += ["--threads", str(options.threads)]
    command += ["--libraries", options.libraries] if options.libraries else []
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return max(1.0, float(done.stdout.split()[-1]))


def alone(row: Row, side: str) -> None:
    """Print the peak memory of one side's work over what this process held before."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak starts anew
    before = resident("VmRSS")
    seconds(row.ours[1] if side == "ours" else row.theirs[1])
    print(resident("VmHWM") - before)


def lines(family: str, rows: Iterator[Row], options: argparse.Namespace) -> Iterator[str]:
    for number, row in enumerate(rows):
        ours, theirs = measured(row, options.repeats)
        wall, processor = ours.wall / theirs.wall, ours.processor / theirs.processor
        held = [peak(options, family, number, side) for side in ("ours", "theirs")]
        yield (
            f"| {row.what} | {row.ours[0]}: {ours}, {held[0]:.0f} MiB | "
            f"{row.theirs[0]}: {theirs}, {held[1]:.0f} MiB | "
            f"{_ratio(wall)} ({_ratio(processor)}) | {_ratio(held[0] / held[1])} | "
            f"{difference(row)} | {row.wanted} |"
        )


def difference(row: Row) -> str:
    """Return the largest difference of two estimates of one quantity."""
    if row.same is None:
        return "—"
    ours, theirs = row.ours[1](), row.same(row.theirs[1]())
    return f"{(ours - theirs).abs().max().item():.0e}"


def _ratio(fraction: float) -> str:
    return f"{fraction:.2f} of it" if fraction > 0.5 else f"1/{1 / fraction:.3g} of it"


def main() -> None:
    families = {family.__name__: family for family in (pairs, triplets, copulas, labels)}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("families", nargs="*", help=f"of {', '.join(families)}; all without")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--libraries", help="folder that THOI and hoi are installed in")
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    if options.libraries:
        sys.path.append(options.libraries)
    if options.alone:
        number, side = options.alone.split(".")
        alone(list(families[options.families[0]]())[int(number)], side)
        return
    table = [
        "| what | NodeLens | beside | time | memory | difference | wanted |",
        "|---|---|---|---|---|---|---|",
    ]
    print(*table, sep="\n")
    for name in options.families or families:
        try:
            for line in lines(name, families[name](), options):
                table.append(line)
                print(line, flush=True)
        except ModuleNotFoundError as missing:
            table.append(f"| {name} | — | {missing} | — | — | — | — |")
            print(table[-1])
    if options.markdown:
        options.markdown.write_text("\n".join(table) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

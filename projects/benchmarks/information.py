"""Information metrics beside a matrix product, THOI and scikit-learn, in one process.

    pip install -c constraints.txt scikit-learn
    pip install --no-deps thoi tqdm   # or --thoi FOLDER, where `pip install --target` put it
    python projects/benchmarks/information.py [FAMILY ...] [--repeats 3] [--markdown FILE]

Both sides of a row take turns and the shortest time of each counts. In brackets is the time of
processors over all threads, which other programs on the machine change less. Where THOI cannot be
imported its rows are left out, and the table says so.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

import torch
from attrs import frozen
from sklearn.feature_selection import mutual_info_classif

from nodelens_metrics.estimators import copula_label_information, label_information
from nodelens_metrics.higher_order import o_information_of_triplets
from nodelens_metrics.neighbours import ksg_label_information
from nodelens_metrics.pairwise import pairwise_information

Work = Callable[[], object]


@frozen
class Row:
    """One comparison: what, ours, theirs, and the ratio that is asked for."""

    what: str
    ours: tuple[str, Work]
    theirs: tuple[str, Work]
    wanted: str


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


def triplets() -> Iterator[Row]:
    from thoi.measures.gaussian_copula import nplets_measures

    x = normal(2_000, 100).double() @ normal(100, 100).double()
    covariance = torch.corrcoef(x.T)
    every = torch.combinations(torch.arange(100), 3)
    yield Row(
        "O-information of all 161,700 triplets of 100 variables",
        ("o_information_of_triplets", lambda: o_information_of_triplets(covariance)),
        (
            "THOI nplets_measures",
            lambda: nplets_measures(
                covariance, every, covmat_precomputed=True, verbose=logging.CRITICAL
            ),
        ),
        "8 times as fast",
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
        )


@frozen
class Seconds:
    """What a run took by the clock on the wall and, over all threads, of processors."""

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


def lines(rows: Iterator[Row], repeats: int) -> Iterator[str]:
    for row in rows:
        ours, theirs = measured(row, repeats)
        wall, processor = ours.wall / theirs.wall, ours.processor / theirs.processor
        yield (
            f"| {row.what} | {row.ours[0]}: {ours} | {row.theirs[0]}: {theirs} | "
            f"{_ratio(wall)} ({_ratio(processor)}) | {row.wanted} |"
        )


def _ratio(share: float) -> str:
    return f"{share:.2f} of it" if share > 0.5 else f"1/{1 / share:.3g} of it"


def main() -> None:
    families = {family.__name__: family for family in (pairs, triplets, labels)}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("families", nargs="*", help=f"of {', '.join(families)}; all without")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--thoi", help="folder that THOI is installed in")
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    if options.thoi:
        sys.path.append(options.thoi)
    table = ["| what | NodeLens | beside | ratio | wanted |", "|---|---|---|---|---|"]
    print(*table, sep="\n")
    for name in options.families or families:
        try:
            for line in lines(families[name](), options.repeats):
                table.append(line)
                print(line, flush=True)
        except ModuleNotFoundError as missing:
            table.append(f"| {name} | — | {missing} | — | — |")
            print(table[-1])
    if options.markdown:
        options.markdown.write_text("\n".join(table) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

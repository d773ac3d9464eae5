"""Start-up time of the light commands, as ratios of a bare start with their imports.

python projects/benchmarks/startup.py
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROUNDS = 15
BARE = ["-c", "import click, pluggy, yaml"]
COMMANDS = {
    "--version": ["-m", "nodelens", "--version"],
    "--help": ["-m", "nodelens", "--help"],
    "plugins": ["-m", "nodelens", "plugins"],
    "metrics": ["-m", "nodelens", "metrics"],
    "config check minimal": ["-m", "nodelens", "config", "check", "configs/minimal.yaml"],
    "config check digits": ["-m", "nodelens", "config", "check", "configs/digits.yaml"],
}


def seconds(arguments: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, check=True)
    return time.perf_counter() - started


def main() -> None:
    """Take the shortest of interleaved rounds."""
    best = dict.fromkeys(["bare", *COMMANDS], float("inf"))
    for _ in range(ROUNDS):
        for name, arguments in {"bare": BARE, **COMMANDS}.items():
            best[name] = min(best[name], seconds(arguments))
    for name, value in best.items():
        print(f"{name:22} {value:.3f} s  {value / best['bare']:.2f} x")


if __name__ == "__main__":
    main()

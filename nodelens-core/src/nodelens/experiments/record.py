"""The fields of a run's record: versions, plugins, git state, command."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from nodelens.storage.run_record import GitState, PluginRecordEntry

if TYPE_CHECKING:
    from nodelens.config.schema import RunConfig
    from nodelens.plugins.manager import Plugins

_PACKAGES = ("nodelens-core", "torch", "numpy", "scipy", "scikit-learn", "safetensors")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that numbers depend on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def git_state(folder: Path) -> GitState | None:
    """Return the commit and whether there are uncommitted changes; None outside a git checkout."""
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        return GitState(commit, bool(_git(folder, "status", "--porcelain")))
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    return result.stdout.strip()


def used_components(config: RunConfig, plugins: Plugins) -> dict[str, dict[str, str]]:
    """Return the distribution of every component of the config, by kind."""
    chosen = {
        "backend": (config.model,),
        "dataset": (config.data.component,),
        "loss": tuple(each for each in (config.loss, config.target) if each is not None),
        "metric": config.metrics,
        "analysis": config.analyses,
        "evaluation": config.evaluations,
        "intervention": config.interventions,
        "pruner": config.pruning,
        "recovery": config.recovery,
        "report": config.reports,
    }
    return {
        kind: {
            part.name: plugins.registry.offer(kind, part.name).distribution  # type: ignore[arg-type]
            for part in parts
        }
        for kind, parts in chosen.items()
        if parts
    }


def describe(config: RunConfig, plugins: Plugins, device: str) -> dict[str, Any]:
    """Return the fields of ``run.json`` that are known when a run starts."""
    return {
        "command": command_line(sys.argv),
        "seed": config.seed,
        "device": device,
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "plugins": tuple(PluginRecordEntry(**each.summary()) for each in plugins.records),
        "components": used_components(config, plugins),
        "git": git_state(Path.cwd()),
    }


def command_line(arguments: Sequence[str]) -> str:
    """Return the command line as typed, with the program's name instead of its path."""
    import shlex

    return shlex.join([Path(arguments[0]).name, *arguments[1:]]) if arguments else ""

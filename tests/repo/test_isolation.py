"""Fresh environments that hold some of the distributions only."""

from __future__ import annotations

import json
import os
import site
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


def run(python: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return subprocess.run(
        [str(python), *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def third_party(folder: Path) -> Path:
    """Return a view of the installed packages without NodeLens and without editable installs."""
    folder.mkdir()
    there = (Path(packages) for packages in site.getsitepackages())
    for packages in filter(Path.is_dir, there):  # Debian lists folders that need not exist
        for entry in packages.iterdir():
            own = entry.name.lower().startswith(
                ("nodelens", "__editable__", "_editable", "_nodelens")
            )
            if not own and entry.suffix != ".pth" and not (folder / entry.name).exists():
                (folder / entry.name).symlink_to(entry)
    return folder


def environment(folder: Path, *names: str) -> Path:
    """Make an environment with these distributions and return its Python."""
    venv.create(folder / "env", with_pip=False, symlinks=True)
    python = folder / "env/bin/python"
    packages = next((folder / "env/lib").glob("python*/site-packages"))
    view = third_party(folder / "third-party")
    (packages / "third-party.pth").write_text(f"{view}\n")
    for name in names:
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation"]
        subprocess.run(
            [*pip, "--target", str(packages), str(ROOT / f"nodelens-{name}")], check=True
        )
    return python


@pytest.fixture(scope="module")
def core_alone(tmp_path_factory):
    return environment(tmp_path_factory.mktemp("core"), "core")


def test_core_alone_runs_the_minimal_config(core_alone, tmp_path):
    done = run(
        core_alone, "-m", "nodelens", "run", str(ROOT / "configs/minimal.yaml"), cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert (next(tmp_path.glob("outputs/minimal/*")) / "report.html").is_file()


def test_core_alone_says_what_to_install_for_the_digits_config(core_alone, tmp_path):
    config = str(ROOT / "configs/digits.yaml")
    done = run(core_alone, "-m", "nodelens", "config", "check", config, cwd=tmp_path)
    assert done.returncode == 2
    assert "weight_l1" in done.stderr
    assert "Traceback" not in done.stderr


def test_core_alone_lists_only_itself(core_alone, tmp_path):
    done = run(core_alone, "-m", "nodelens", "plugins", "--json", cwd=tmp_path)
    listed = json.loads(done.stdout)
    records = listed["plugins"] if isinstance(listed, dict) else listed
    assert [record["distribution"] for record in records] == ["nodelens-core"]


def test_core_and_metrics_score_without_pruning(tmp_path):
    python = environment(tmp_path, "core", "metrics")
    config = str(ROOT / "configs/digits.yaml")
    short = ["pruning=[]", "training.epochs=1", "reports=[]"]
    done = run(python, "-m", "nodelens", "-q", "run", config, *short, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_core_and_one_family_that_a_config_switches_on(tmp_path):
    python = environment(tmp_path, "core", "metrics")
    config = {
        "name": "one-family",
        "plugins": {"only": ["nodelens-core", "nodelens-metrics:weights"]},
        "model": {"name": "mlp", "hidden": [6]},
        "data": {"name": "digits", "flat": True, "subset": 200},
        "metrics": ["weight_*"],
        "interventions": ["oracle"],
        "reports": ["json"],
    }
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps(config))
    done = run(python, "-m", "nodelens", "-q", "run", str(path), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (summary,) = tmp_path.glob("outputs/one-family/*/summary.json")
    scored = json.loads(summary.read_text())["scores"]["metrics"]
    assert {"weight_l1", "weight_l2"} <= set(scored)
    path.write_text(json.dumps(config | {"metrics": ["taylor"]}))
    done = run(python, "-m", "nodelens", "config", "check", str(path), cwd=tmp_path)
    assert done.returncode == 2
    assert "nodelens-metrics:gradients" in done.stderr


def test_all_four_are_found_together(tmp_path):
    python = environment(tmp_path, "core", "metrics", "pruning", "hf")
    done = run(python, "-m", "nodelens", "plugins", "--check", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("nodelens-core", "nodelens-metrics", "nodelens-pruning", "nodelens-hf"):
        assert name in done.stdout

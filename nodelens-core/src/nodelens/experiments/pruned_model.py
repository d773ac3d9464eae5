"""The pruned model of a run as a folder that loads, where the model's backend can write one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve

from nodelens.config.dump import to_mapping

if TYPE_CHECKING:
    from nodelens.experiments.context import Experiment
    from nodelens.experiments.pruned import Pruned
    from nodelens.experiments.setup import Subject
    from nodelens.reports.parts import Finding


def keep_model(
    experiment: Experiment, subject: Subject, name: str, pruned: Pruned
) -> tuple[Finding, list[str]]:
    """Write the pruned model of a method to ``pruned/<method>/model``.

    Returns its finding, which now says what loads the folder, and the names of the files; the
    finding as it was and no names where the backend cannot write folders. What a stage that was
    killed has left there is replaced.
    """
    save = subject.handle.save
    if save is None or pruned.model is None:
        return pruned.finding, []
    place = f"pruned/{name}/model"
    folder = experiment.run.file(place)
    _clear(folder)
    call = save(pruned.model, folder, _facts(experiment, subject, name, pruned.finding))
    written = sorted(path for path in folder.rglob("*") if path.is_file())
    files = [path.relative_to(experiment.run.path).as_posix() for path in written]
    said = f"saved in {place}; load it with {call}"
    finding = evolve(
        pruned.finding,
        headline=(*pruned.finding.headline, said),
        data={**pruned.finding.data, "model": {"folder": place, "load": call}},
    )
    return finding, files


def _clear(folder: Path) -> None:
    for left in (folder, *folder.parent.glob(f".{folder.name}-*")):
        shutil.rmtree(left, ignore_errors=True)


def _facts(experiment: Experiment, subject: Subject, name: str, finding: Finding) -> dict[str, Any]:
    """Return what was done, measured, and on which data, as JSON values."""
    config = to_mapping(experiment.config)
    methods = {part.result_name: part for part in experiment.config.pruning}
    result = next((table for table in finding.tables if table.name == f"{name}_result"), None)
    return {
        "title": f"{subject.handle.origin}, pruned by {name}",
        "method": {"name": methods[name].name, **methods[name].options},
        "findings": list(finding.headline),
        "warnings": list(finding.warnings),
        "columns": list(result.columns) if result else [],
        "measures": [list(row) for row in result.rows] if result else [],
        "data": config["data"],
        "calibration_samples": len(subject.calibration),
        "test_samples": len(subject.splits.test),
        "masked": sorted(finding.data.get("refused", {})),
        "seed": experiment.seed,
        "run": experiment.run.path.name,
    }

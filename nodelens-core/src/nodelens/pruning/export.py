"""Export of pruned models: weights, and a folder that loads where the backend can write one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from nodelens.config.dump import to_mapping
from nodelens.storage.tensors import write_state

if TYPE_CHECKING:
    from torch import nn

    from nodelens.config.schema import Component
    from nodelens.experiments.experiment import Experiment
    from nodelens.experiments.setup import StudyInputs
    from nodelens.findings.finding import Finding


@frozen(eq=False)
class SavedModel:
    """A model to save, with its place in the run folder, its method and its findings.

    `findings` are those that its card reports; the last one has measured the model. `recovery`
    is what it was trained by after the method had pruned it.
    """

    model: nn.Module
    place: str
    method: str
    findings: tuple[Finding, ...]
    recovery: str | None = None


def keep_model(
    experiment: Experiment, study: StudyInputs, saved_model: SavedModel
) -> tuple[Finding, list[str]]:
    """Write a model's weights and, where its backend can, the folder ``model`` that loads.

    Returns its finding, which then says what loads the folder, and the names of the files. Files
    that a killed stage has left there are overwritten.
    """
    save, finding = study.handle.save, saved_model.findings[-1]
    weights = f"{saved_model.place}/weights.safetensors"
    metadata = {"method": saved_model.method, "recovery": saved_model.recovery or ""}
    write_state(experiment.run.file(weights), saved_model.model.state_dict(), metadata)
    if save is None:
        return finding, [weights]
    place = f"{saved_model.place}/model"
    folder = experiment.run.file(place)
    _clear(folder)
    call = save(saved_model.model, folder, _facts(experiment, study, saved_model))
    written = sorted(path for path in folder.rglob("*") if path.is_file())
    files = [path.relative_to(experiment.run.path).as_posix() for path in written]
    kept = {"folder": place, "load": call}
    headline, data = (*finding.headline, _where(kept)), {**finding.data, "model": kept}
    return evolve(finding, headline=headline, data=data), [weights, *files]


def _where(kept: dict[str, str]) -> str:
    return f"saved in {kept['folder']}; load it with {kept['load']}"


def _clear(folder: Path) -> None:
    for left in (folder, *folder.parent.glob(f".{folder.name}-*")):
        shutil.rmtree(left, ignore_errors=True)


def _facts(experiment: Experiment, study: StudyInputs, saved_model: SavedModel) -> dict[str, Any]:
    """Return the method, the measurements and the data of a model as JSON values."""
    config, finding = experiment.config, saved_model.findings[-1]
    result = next(table for table in finding.tables if table.name == f"{finding.name}_result")
    facts = {
        "title": f"{study.handle.origin}, pruned by {saved_model.method}",
        "method": _options(config.pruning, saved_model.method),
        "findings": [said for each in saved_model.findings for said in _headline(each)],
        "warnings": [text for each in saved_model.findings for text in each.warnings],
        "columns": list(result.columns),
        "measures": [list(row) for row in result.rows],
        "data": to_mapping(config)["data"],
        "calibration_samples": len(study.calibration),
        "test_samples": len(study.splits.test),
        "masked": sorted(saved_model.findings[0].data.get("refused", {})),
        "seed": experiment.seed,
        "run": experiment.run.path.name,
    }
    if saved_model.recovery is None:
        return facts
    recovery = {
        **_options(config.recovery, saved_model.recovery),
        "batch_size": finding.data["batch_size"],
        "samples": finding.data["samples"],
    }
    title = f"{facts['title']}, recovered by {saved_model.recovery}"
    return {**facts, "title": title, "recovery": recovery}


def _options(components: tuple[Component, ...], name: str) -> dict[str, Any]:
    component = next(part for part in components if part.result_name == name)
    return {"name": component.name, **component.options}


def _headline(finding: Finding) -> list[str]:
    """Return the headline of a finding, without the place of another model."""
    kept = finding.data.get("model")
    return [said for said in finding.headline if kept is None or said != _where(kept)]

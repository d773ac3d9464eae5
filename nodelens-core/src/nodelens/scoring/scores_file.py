"""Scores as one safetensors file: the arrays, and everything else in its metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import asdict, frozen

from nodelens.config.stored_values import damaged, from_stored, to_stored
from nodelens.errors import RunError
from nodelens.storage.strict_json import from_text, to_text
from nodelens.storage.tensors import read_arrays, write_arrays

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nodelens.scoring.scores import Score, Scores

    Arrays = Mapping[str, NDArray[Any]]

_FORMAT = 5
_ABOUT = "nodelens scores"
_ARRAYS = ("values", "se", "contributions")


@frozen
class ScoreHeader:
    """A score without its arrays; `contributions` are the names of the parts."""

    metric: str
    group: str
    higher_is_better: bool | None
    unit: str
    folds: int
    no_interval: str
    heavy_tails: bool
    warnings: tuple[str, ...]
    contributions: tuple[str, ...]


@frozen
class ScoresHeader:
    """The scores of a file in the order of their arrays; `skipped` is metric, group and reason."""

    scores: tuple[ScoreHeader, ...]
    layers: tuple[ScoreHeader, ...]
    skipped: tuple[tuple[str, str, str], ...]
    failed: dict[str, str]
    samples: int


def write_scores(path: Path, scores: Scores) -> None:
    """Write the scores, atomically; raises `RunError`."""
    arrays: dict[str, NDArray[Any]] = {}
    for number, score in enumerate([*scores, *scores.layers.values()]):
        parts = enumerate(score.contributions.values())
        arrays |= {f"{number}.contributions.{place}": part for place, part in parts}
        arrays[f"{number}.values"] = score.values
        if score.se is not None:
            arrays[f"{number}.se"] = score.se
    header = ScoresHeader(
        tuple(_header(score) for score in scores),
        tuple(_header(score) for score in scores.layers.values()),
        tuple((*key, reason) for key, reason in scores.skipped.items()),
        dict(scores.failed),
        scores.samples,
    )
    write_arrays(path, arrays, {_ABOUT: to_text(to_stored(header, _FORMAT), str(path))})


def read_fields(path: Path, kind: type[Score]) -> dict[str, Any]:
    """Return the fields of the scores in a file from `write_scores`, each score of class `kind`.

    Raises `RunError` for any other file.
    """
    arrays, meta = read_arrays(path)
    if _ABOUT not in meta:
        raise RunError(f"{path}: not a NodeLens scores file")
    values = from_text(meta[_ABOUT], str(path))
    header = from_stored(ScoresHeader, values, str(path), _FORMAT, "scores")
    headers = enumerate([*header.scores, *header.layers])
    found = [kind(**_score(arrays, *each, path)) for each in headers]
    nodes = len(header.scores)
    return {
        "scores": _by_key(found[:nodes]),
        "layers": _by_key(found[nodes:]),
        "skipped": {(metric, group): reason for metric, group, reason in header.skipped},
        "failed": header.failed,
        "samples": header.samples,
    }


def _header(score: Score) -> ScoreHeader:
    fields = asdict(score, filter=lambda attribute, _: attribute.name not in _ARRAYS)
    return ScoreHeader(**fields, contributions=tuple(score.contributions))


def _by_key(scores: Sequence[Score]) -> dict[tuple[str, str], Score]:
    return {(score.metric, score.group): score for score in scores}


def _score(arrays: Arrays, number: int, header: ScoreHeader, path: Path) -> dict[str, Any]:
    """Return the fields of one score."""
    fields = asdict(header)
    places = enumerate(fields.pop("contributions"))
    parts = {name: f"{number}.contributions.{place}" for place, name in places}
    missing = {f"{number}.values", *parts.values()} - arrays.keys()
    if missing:
        raise damaged(str(path), f"has no array {min(missing)}")
    values, se = arrays[f"{number}.values"], arrays.get(f"{number}.se")
    contributions = {name: arrays[key] for name, key in parts.items()}
    for array in (values, *([] if se is None else [se]), *contributions.values()):
        if array.ndim != 1 or array.shape != values.shape or array.dtype.kind != "f":
            raise damaged(str(path), f"array {number} is not one number per node")
    return {"values": values, "se": se, "contributions": contributions, **fields}

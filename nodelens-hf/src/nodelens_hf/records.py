"""Records of JSON Lines, JSON, Parquet and saved datasets, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from nodelens.data.file_faults import FAULTS, check_size
from nodelens.errors import DataError
from nodelens_hf.text_lines import check_text, parsed, records_of_lines

SUFFIXES = (".jsonl", ".json", ".parquet")
_ROWS = 256
"""Number of rows of a parquet file read at once."""

Records = Iterator[tuple[Any, str]]
"""JSON values with their places in the file."""


def has_records(path: Path) -> bool:
    """Return whether a path is read as records, not as text."""
    return path.suffix in SUFFIXES or is_dataset(path)


def is_dataset(path: Path) -> bool:
    """Return whether ``datasets.Dataset.save_to_disk`` wrote a folder."""
    return all((path / name).is_file() for name in ("dataset_info.json", "state.json"))


def records(path: Path, columns: Sequence[str]) -> Records:
    """Yield the records of a file with the place of each; `columns` are the ones to read.

    Where a column is missing, records have all columns, for the message. Raises `DataError` for an
    unreadable file.
    """
    readers: dict[str, Callable[[Path], Records]] = {".jsonl": records_of_lines, ".json": _of_json}
    if path.suffix in readers:
        yield from readers[path.suffix](path)
    elif path.suffix == ".parquet":
        yield from _of_parquet(path, columns)
    else:
        yield from _of_dataset(path, columns)


def _of_json(path: Path) -> Records:
    check_size(path.stat().st_size, str(path))
    text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    for number, line in enumerate(text.splitlines(), start=1):
        check_text(line, f"{path}, line {number}")
    found = parsed(text, str(path), lines=True)
    many = list(found.values()) if isinstance(found, dict) else found
    if not isinstance(many, list):
        raise DataError(f"{path}: expected a list of records or of texts")
    for number, record in enumerate(many):
        yield record, f"{path}, record {number}"


def _of_parquet(path: Path, columns: Sequence[str]) -> Records:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise DataError(
            f"{path}: parquet needs pyarrow; pip install 'nodelens-hf[parquet]'"
        ) from error
    try:
        with parquet.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                check_size(file.metadata.row_group(group).total_byte_size, str(path))
            known = all(name in file.schema_arrow.names for name in columns)
            number = 0
            chosen = list(columns) if known else None
            for batch in file.iter_batches(batch_size=_ROWS, columns=chosen):
                for record in batch.to_pylist():
                    number += 1
                    yield record, f"{path}, row {number - 1}"
    except (ArrowException, *FAULTS) as error:
        raise DataError(f"{path}: not a parquet file that can be read ({error})") from error


def _of_dataset(path: Path, columns: Sequence[str]) -> Records:
    """Yield the rows of a saved dataset; numbers of a ClassLabel become its names."""
    try:
        from datasets import load_from_disk
    except ImportError as error:
        raise DataError(
            f"{path}: a saved dataset needs datasets; pip install 'nodelens-hf[datasets]'"
        ) from error
    try:
        found = load_from_disk(str(path))
    except FAULTS as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path}: not a whole dataset of save_to_disk ({reason})") from error
    if all(name in found.column_names for name in columns):
        found = found.select_columns(list(columns))
    named = {name: _class_names(feature) for name, feature in found.features.items()}
    for number, row in enumerate(found):
        record = {name: _in_words(value, named[name]) for name, value in row.items()}
        yield record, f"{path}, row {number}"


def _class_names(feature: Any) -> list[str] | None:
    """Return the names of a ClassLabel, or of a list of them."""
    inner = getattr(feature, "feature", feature)
    names: list[str] | None = getattr(inner, "names", None)
    return names


def _in_words(value: Any, names: list[str] | None) -> Any:
    if names is None:
        return value
    if isinstance(value, list):
        return [_in_words(each, names) for each in value]
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else value

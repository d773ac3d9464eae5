"""Documents from files, one after the other, with one document in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from nodelens.errors import DataError
from nodelens_hf import records
from nodelens_hf.text_lines import numbered_lines

SUFFIXES = (".txt", ".md", ".rst", *records.SUFFIXES)
PIECE = 1 << 20
"""Number of bytes of a file read at once."""


@frozen
class Document:
    """Text with a label, if the file has one.

    `continues` marks a further part of the document before, which was too long to be held.
    """

    text: str
    label: str | None = None
    continues: bool = False


@frozen
class TextFiles:
    """Files to read, and the fields of their records."""

    files: tuple[Path, ...]
    text: str = "text"
    label: str | None = None


def find_files(patterns: Sequence[str], suffixes: Sequence[str] = SUFFIXES) -> tuple[Path, ...]:
    """Return the files of paths, folders and patterns, sorted, each once.

    A folder gives all files below with one of `suffixes`; a folder that ``datasets`` saved counts
    as a file. Raises `DataError` for a pattern that matches nothing.
    """
    found: list[Path] = []
    for pattern in patterns:
        matched = _matched(Path(pattern).expanduser(), suffixes)
        if not matched:
            raise DataError(
                f"data.files: {pattern} matches no file; give files, patterns such as 'docs/*.txt' "
                f"or folders that hold {', '.join(suffixes)}"
            )
        found.extend(matched)
    return tuple(dict.fromkeys(found))


def _matched(path: Path, suffixes: Sequence[str]) -> list[Path]:
    if path.is_file() or records.is_dataset(path):
        return [path]
    if (path / "dataset_dict.json").is_file():
        splits = ", ".join(str(each) for each in sorted(path.iterdir()) if each.is_dir())
        raise DataError(f"data.files: {path} holds several splits; give one of {splits}")
    if path.is_dir():
        return sorted(p for p in path.rglob("*") if p.is_file() and p.suffix in suffixes)
    if not any(sign in str(path) for sign in "*?["):
        return []
    parts = path.parts
    first = next(number for number, part in enumerate(parts) if any(s in part for s in "*?["))
    root = Path(*parts[:first]) if first else Path()
    return sorted(p for p in root.glob(str(Path(*parts[first:]))) if p.is_file())


def documents(source: TextFiles) -> Iterator[Document]:
    """Yield the documents of all files that are not blank, in order.

    A document too long to be held gives its beginning. Raises `DataError` with file and line.
    """
    return (each for each in parts(source) if not each.continues)


def parts(source: TextFiles) -> Iterator[Document]:
    """Yield the documents of all files that are not blank, long ones in several parts."""
    for path in source.files:
        with readable(path):
            yield from (each for each in _of_file(path, source) if each.text.strip())


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Raise `DataError` that names the file, if it cannot be read or is no text."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error


def _of_file(path: Path, source: TextFiles) -> Iterator[Document]:
    if records.has_records(path):
        columns = [name for name in (source.text, source.label) if name is not None]
        for record, where in records.records(path, columns):
            yield _of_record(record, source, where)
    elif source.label is not None:
        yield from (evolve(each, label=path.parent.name) for each in _of_text(path))
    else:
        yield from _of_text(path)


def _of_text(path: Path) -> Iterator[Document]:
    """Yield a plain text as paragraphs, divided by blank lines, so that none is long.

    A paragraph of more than a mebibyte comes in parts.
    """
    paragraph: list[str] = []
    size, continues, begins = 0, False, True
    for _, line in numbered_lines(path, PIECE):
        blank = begins and not line.strip()
        begins = line.endswith("\n")
        if not blank:
            paragraph.append(line)
            size += len(line)
        elif paragraph:
            yield Document("".join(paragraph).rstrip("\n"), continues=continues)
            paragraph, size, continues = [], 0, False
        if size >= PIECE:
            text = "".join(paragraph)
            kept = text.rstrip("\n")
            yield Document(kept, continues=continues)
            paragraph, size, continues = [text[len(kept) :]], 0, True
    if paragraph:
        yield Document("".join(paragraph).rstrip("\n"), continues=continues)


def _of_record(record: Any, source: TextFiles, where: str) -> Document:
    if isinstance(record, str) and source.label is None:
        return Document(record)
    if not isinstance(record, dict) or not isinstance(record.get(source.text), str):
        keys = ", ".join(record) if isinstance(record, dict) else type(record).__name__
        raise DataError(f"{where}: no text under {source.text!r} (there is: {keys}); set data.text")
    if source.label is None:
        return Document(record[source.text])
    if source.label not in record:
        raise DataError(f"{where}: no label under {source.label!r} (there is: {', '.join(record)})")
    if record[source.label] is None:
        raise DataError(
            f"{where}: the label under {source.label!r} is null; give one or drop the record"
        )
    return Document(record[source.text], str(record[source.label]))


def content_key(source: TextFiles, *settings: object) -> str:
    """Return a hash of the files' content and of the settings, for caches."""
    digest = hashlib.sha256(repr(settings).encode())
    for path in source.files:
        parts = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for part in parts:
            digest.update(f"{part.name} {part.stat().st_size} ".encode())
            with part.open("rb") as stream:
                while piece := stream.read(PIECE):
                    digest.update(piece)
    return digest.hexdigest()[:32]

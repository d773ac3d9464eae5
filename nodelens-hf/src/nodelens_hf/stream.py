"""Text tokenised once into a file of token ids that is read where needed."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from itertools import chain, groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from nodelens.config.stored_values import restored_text
from nodelens.errors import DataError, RunError
from nodelens_hf.chunked_tokenizer import PIECE, ids_of
from nodelens_hf.documents import Document, TextFiles, content_key, parts

if TYPE_CHECKING:
    from nodelens_hf.tokenizers import Tokens

_FORMAT = "nodelens-hf tokens 2"


@frozen(eq=False)
class TokenStream:
    """Token ids of a whole text, ``(tokens,)`` uint32 in a file, and the length of the text.

    `bytes` counts the UTF-8 bytes of the text, joiners included, `documents` its documents.
    """

    ids: NDArray[np.uint32]
    bytes: int
    documents: int


def token_stream(
    source: TextFiles, tokens: Tokens, joiner: str | None, cache: Path | None
) -> TokenStream:
    """Return the ids of all documents, joined by `joiner`, or each ended by the end token.

    Kept in the folder `cache` under a hash of the files' content and of the tokenizer, else in a
    temporary file as long as the stream exists. Some mebibytes of text are in memory at once, and a
    record. Raises `DataError` for text without tokens and for a full disk.
    """
    if joiner is None and tokens.end is None:
        raise DataError(
            "data.joiner: the tokenizer has no end token; give a joiner, such as '\\n\\n'"
        )
    folder = cache if cache is not None else Path(tempfile.mkdtemp(prefix="nodelens-"))
    try:
        stream = _stream(folder, source, tokens, joiner)
    except BaseException:
        _remove_unless(cache, folder)
        raise
    weakref.finalize(stream, _remove_unless, cache, folder)
    return stream


def _remove_unless(cache: Path | None, folder: Path) -> None:
    if cache is None:
        shutil.rmtree(folder, ignore_errors=True)


def _stream(folder: Path, source: TextFiles, tokens: Tokens, joiner: str | None) -> TokenStream:
    key = content_key(source, _FORMAT, tokens.identity, joiner, source.text)
    path = folder / f"{key}.tokens"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        about = _described(path)
        if about is None:
            about = _write(path, source, tokens, joiner)
    except OSError as error:
        raise DataError(f"{folder}: tokens cannot be written there: {error.strerror}") from error
    if not about["tokens"]:
        raise DataError(f"{', '.join(map(str, source.files[:3]))}: there is no text to tokenise")
    ids = np.memmap(path, dtype=np.uint32, mode="r", shape=(about["tokens"],))
    return TokenStream(ids, about["bytes"], about["documents"])


def _described(path: Path) -> dict[str, int] | None:
    """Return the description of a token file; None unless file and description are whole."""
    try:
        text = path.with_suffix(".json").read_text(encoding="utf-8")
        about = restored_text(dict[str, int], text, str(path))
        whole = path.stat().st_size == about["tokens"] * np.dtype(np.uint32).itemsize
    except (FileNotFoundError, UnicodeDecodeError, RunError, KeyError):
        return None
    return about if whole else None


def _write(path: Path, source: TextFiles, tokens: Tokens, joiner: str | None) -> dict[str, int]:
    """Write the ids and, last, their description: a file without a description is not trusted."""
    from nodelens.storage.atomic import write_text

    counts = {"tokens": 0, "bytes": 0, "documents": 0}
    unfinished = path.with_suffix(f".{os.getpid()}.part")
    try:
        with unfinished.open("wb") as file:
            found = _counted(parts(source), counts, joiner or "")
            joined = None if joiner is None else ids_of(_joined(found, joiner), tokens)
            for ids in joined or _ended(found, tokens):
                file.write(np.asarray(ids, dtype=np.uint32).tobytes())
                counts["tokens"] += len(ids)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    write_text(path.with_suffix(".json"), json.dumps(counts))
    return counts


def _counted(found: Iterable[Document], counts: dict[str, int], joiner: str) -> Iterator[Document]:
    """Yield documents unchanged, and count them and their bytes, joiners included."""
    between = len(joiner.encode())
    for part in found:
        if not part.continues:
            counts["bytes"] += between if counts["documents"] else 0
            counts["documents"] += 1
        counts["bytes"] += len(part.text.encode())
        yield part


def _joined(found: Iterable[Document], joiner: str) -> Iterator[str]:
    """Yield the text of documents with a joiner between them."""
    for number, part in enumerate(found):
        yield part.text if part.continues or not number else joiner + part.text


def _ended(found: Iterable[Document], tokens: Tokens) -> Iterator[list[int]]:
    """Yield the ids of every document and the end token; short documents are tokenised together."""
    assert tokens.end is not None
    end, short, size = [tokens.end], list[str](), 0
    for several in _together(found):
        first, *second = islice(several, 2)
        if not second:
            short.append(first.text)
            size += len(first.text)
        if short and (second or size >= PIECE):
            yield from (ids + end for ids in tokens.encode(short))
            short, size = [], 0
        if second:
            texts = (part.text for part in chain((first, *second), several))
            yield from ids_of(texts, tokens)
            yield end
    if short:
        yield from (ids + end for ids in tokens.encode(short))


def _together(found: Iterable[Document]) -> Iterator[Iterator[Document]]:
    """Yield the parts of each document."""
    number = 0

    def of(part: Document) -> int:
        nonlocal number
        number += not part.continues
        return number

    return (several for _, several in groupby(found, of))

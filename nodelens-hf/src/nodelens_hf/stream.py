"""A text tokenised once, into a file of token ids that is read where it is needed."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from nodelens.errors import DataError
from nodelens_hf.documents import Document, Source, content_key, documents
from nodelens_hf.tokenizers import Tokens

_FORMAT = "nodelens-hf tokens 1"
_PIECE = 1 << 18
"""Characters that are tokenised at once."""


@frozen(eq=False)
class TokenStream:
    """Token ids of a whole text, ``(tokens,)`` uint32 in a file, and how long the text was.

    `bytes` counts the UTF-8 bytes of the text, joiners included, `documents` its documents.
    """

    ids: NDArray[np.uint32]
    bytes: int
    documents: int


def token_stream(
    source: Source, tokens: Tokens, joiner: str | None, cache: Path | None
) -> TokenStream:
    """Return the ids of all documents, joined by `joiner`, or each ended by the end token.

    Kept in the folder `cache` under a hash of what the files hold and of the tokenizer, else in a
    temporary file for as long as the stream is. A quarter of a mebibyte of text is in memory at
    once. Raises `DataError` for text without tokens and for a full disk.
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


def _stream(folder: Path, source: Source, tokens: Tokens, joiner: str | None) -> TokenStream:
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
    """Return what is said of a token file; None unless both are whole."""
    try:
        about: dict[str, int] = json.loads(path.with_suffix(".json").read_text())
        whole = path.stat().st_size == about["tokens"] * np.dtype(np.uint32).itemsize
    except (FileNotFoundError, json.JSONDecodeError, KeyError):
        return None
    return about if whole else None


def _write(path: Path, source: Source, tokens: Tokens, joiner: str | None) -> dict[str, int]:
    """Write the ids and, last, what they are: a file without its description is not trusted."""
    from nodelens.storage.atomic import write_text

    counts = {"tokens": 0, "bytes": 0, "documents": 0}
    unfinished = path.with_suffix(f".{os.getpid()}.part")
    try:
        with unfinished.open("wb") as file:
            for piece in _pieces(documents(source), joiner):
                for ids in _encoded(piece, tokens, joiner):
                    file.write(np.asarray(ids, dtype=np.uint32).tobytes())
                    counts["tokens"] += len(ids)
                counts["bytes"] += sum(len(text.encode()) for text in piece)
                counts["documents"] += len(piece)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    write_text(path.with_suffix(".json"), json.dumps(counts))
    return counts


def _pieces(found: Iterator[Document], joiner: str | None) -> Iterator[list[str]]:
    """Yield lists of texts of about `_PIECE` characters together, the joiner before all but one.

    A piece thus begins with a joiner: tokenizers divide a text before a blank line, not after it.
    """
    piece: list[str] = []
    size = 0
    for number, document in enumerate(found):
        text = (joiner or "") + document.text if number else document.text
        piece.append(text)
        size += len(text)
        if size >= _PIECE:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece


def _encoded(piece: list[str], tokens: Tokens, joiner: str | None) -> list[list[int]]:
    """Return the ids of a piece: as one text where documents are joined, else one by one."""
    if joiner is not None:
        return tokens.encode(["".join(piece)])
    assert tokens.end is not None
    return [[*ids, tokens.end] for ids in tokens.encode(piece)]

"""Conversion of text to token ids: tokenizers of transformers, or plain bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from attrs import frozen

from nodelens.data.file_faults import FAULTS
from nodelens.errors import DataError
from nodelens_hf.hub import hub_or_cache
from nodelens_hf.token_bytes import ByteCount, byte_counter

BYTES = "bytes"
"""Name of the tokenizer without files: every byte of UTF-8 is a token, 256 marks ends."""

_ADVICE = f"give a folder or hub id that has a tokenizer, or {BYTES!r}"
_UNREADABLE = (*FAULTS, ImportError)
"""Errors of transformers for an unreadable tokenizer; tokenizers raises a bare Exception."""
Encode = Callable[[Sequence[str]], list[list[int]]]


@frozen(eq=False)
class Tokens:
    """Conversion of text into token ids and back.

    `encode` gives ids without special tokens, `decode` gives text back, `byte_count` the number of
    bytes of text that ids stand for, also where they begin or end within a character. `size` is the
    number of ids, `end` the id that ends a document, `pad` and `mask` the ids of padding and of a
    masked position, None where the tokenizer has none. `identity` names the tokenizer for caches.
    `located` gives the ids of a text and the characters of each, from and to; None for a tokenizer
    without offsets. `splits_anywhere`: a text may be split anywhere without a change of its ids.
    """

    encode: Encode
    decode: Callable[[Sequence[int]], str]
    byte_count: ByteCount
    size: int
    identity: str
    end: int | None = None
    begin: int | None = None
    pad: int | None = None
    mask: int | None = None
    located: Callable[[str], tuple[list[int], list[tuple[int, int]]]] | None = None
    splits_anywhere: bool = False


def load_tokenizer(source: str, gguf_file: str | None = None) -> Tokens:
    """Return the tokenizer of a folder or hub id, or ``bytes``; raises `DataError` without one."""
    return (
        _bytes() if source == BYTES else _of_transformers(transformers_tokenizer(source, gguf_file))
    )


def tokenizer_of(pretrained: str | None, gguf_file: str | None, revision: str | None) -> Any:
    """Return the transformers tokenizer of a model, to be saved; None for a model without one."""
    if pretrained is None:
        return None
    try:
        return transformers_tokenizer(pretrained, gguf_file, revision)
    except DataError:
        return None


def transformers_tokenizer(source: str, gguf_file: str | None, revision: str | None = None) -> Any:
    """Return the transformers tokenizer of a folder or hub id; raises `DataError` without one."""
    from transformers import AutoTokenizer

    local = Path(source).expanduser().is_dir()
    options: dict[str, Any] = {"trust_remote_code": False, "local_files_only": local}
    options |= {} if gguf_file is None else {"gguf_file": gguf_file}
    options |= {} if revision is None else {"revision": revision}
    try:
        with nullcontext() if local else hub_or_cache(source):
            tokenizer = AutoTokenizer.from_pretrained(str(Path(source).expanduser()), **options)
    except Exception as error:
        if not (type(error) is Exception or isinstance(error, _UNREADABLE)):
            raise
        raise DataError(
            f"data.tokenizer: no tokenizer at {source}{_why(error)}; {_ADVICE}"
        ) from error
    if len(tokenizer) <= len(tokenizer.all_special_ids):  # empty: made of a config alone
        raise DataError(f"data.tokenizer: no vocabulary at {source}; {_ADVICE}")
    return tokenizer


def _why(error: Exception) -> str:
    """Return the first sentence of an error of transformers, shortened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    whole = next((line for line in lines if not line.endswith((":", ","))), type(error).__name__)
    return f": {whole.rstrip('.')}"


def _of_transformers(tokenizer: Any) -> Tokens:
    def encode(texts: Sequence[str]) -> list[list[int]]:
        found = tokenizer(list(texts), add_special_tokens=False, verbose=False)
        ids: list[list[int]] = found["input_ids"]
        return ids

    def located(text: str) -> tuple[list[int], list[tuple[int, int]]]:
        found = tokenizer(
            text, add_special_tokens=False, verbose=False, return_offsets_mapping=True
        )
        return list(found["input_ids"]), list(found["offset_mapping"])

    size = max(len(tokenizer), int(tokenizer.vocab_size))
    return Tokens(
        encode=encode,
        decode=lambda ids: str(
            tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        ),
        byte_count=byte_counter(tokenizer),
        size=size,
        identity=_identity(tokenizer),
        end=tokenizer.eos_token_id
        if tokenizer.eos_token_id is not None
        else tokenizer.sep_token_id,
        begin=tokenizer.bos_token_id
        if tokenizer.bos_token_id is not None
        else tokenizer.cls_token_id,
        pad=tokenizer.pad_token_id,
        mask=tokenizer.mask_token_id,
        located=located if tokenizer.is_fast else None,
    )


def _identity(tokenizer: Any) -> str:
    """Return a hash of everything that decides the tokenizer's ids."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    whole = tokenizer.get_vocab() if backend is None else backend.to_str()
    settings = (type(tokenizer).__name__, whole if backend else sorted(whole.items()))
    return hashlib.sha256(repr(settings).encode()).hexdigest()


def _bytes() -> Tokens:
    return Tokens(
        encode=lambda texts: [list(text.encode()) for text in texts],
        decode=lambda ids: bytes(i for i in ids if i < 256).decode(errors="replace"),
        byte_count=lambda ids: sum(each < 256 for each in ids),
        size=259,
        identity=BYTES,
        end=256,
        begin=256,
        pad=257,
        mask=258,
        located=_located_bytes,
        splits_anywhere=True,
    )


def _located_bytes(text: str) -> tuple[list[int], list[tuple[int, int]]]:
    spans = [
        (place, place + 1) for place, sign in enumerate(text) for _ in range(len(sign.encode()))
    ]
    return list(text.encode()), spans

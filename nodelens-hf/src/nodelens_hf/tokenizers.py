"""From text to token ids: tokenizers of transformers, or plain bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from nodelens.errors import DataError

BYTES = "bytes"
"""The name of the tokenizer that needs no files: every byte of UTF-8 is a token, 256 marks ends."""

Encode = Callable[[Sequence[str]], list[list[int]]]


@frozen(eq=False)
class Tokens:
    """A way to turn text into ids.

    `encode` gives ids without special tokens, `decode` gives text back. `size` is the number of
    ids, `end` the id that ends a document, `pad` and `mask` those of padding and of a masked
    position, None where the tokenizer has none. `identity` names it for caches.
    """

    encode: Encode
    decode: Callable[[Sequence[int]], str]
    size: int
    identity: str
    end: int | None = None
    begin: int | None = None
    pad: int | None = None
    mask: int | None = None


def load_tokenizer(source: str, gguf_file: str | None = None) -> Tokens:
    """Return the tokenizer of a folder or hub id, or ``bytes``; raises `DataError` without one."""
    if source == BYTES:
        return _bytes()
    from transformers import AutoTokenizer

    local = Path(source).expanduser().is_dir()
    options: dict[str, Any] = {"trust_remote_code": False, "local_files_only": local}
    if gguf_file is not None:
        options["gguf_file"] = gguf_file
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
    except (OSError, ValueError, KeyError, ImportError, TypeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"data.tokenizer: no tokenizer at {source}: {reason}; give a folder or hub id that has "
            f"one, or {BYTES!r}"
        ) from error
    return _of_transformers(tokenizer, source)


def _of_transformers(tokenizer: Any, source: str) -> Tokens:  # noqa: ANN401 - two unrelated classes
    def encode(texts: Sequence[str]) -> list[list[int]]:
        found = tokenizer(list(texts), add_special_tokens=False, verbose=False)
        ids: list[list[int]] = found["input_ids"]
        return ids

    size = max(len(tokenizer), int(tokenizer.vocab_size))
    return Tokens(
        encode=encode,
        decode=lambda ids: str(tokenizer.decode(ids, skip_special_tokens=True)),
        size=size,
        identity=f"{type(tokenizer).__name__} {source} {size}",
        end=tokenizer.eos_token_id
        if tokenizer.eos_token_id is not None
        else tokenizer.sep_token_id,
        begin=tokenizer.bos_token_id
        if tokenizer.bos_token_id is not None
        else tokenizer.cls_token_id,
        pad=tokenizer.pad_token_id,
        mask=tokenizer.mask_token_id,
    )


def _bytes() -> Tokens:
    return Tokens(
        encode=lambda texts: [list(text.encode()) for text in texts],
        decode=lambda ids: bytes(i for i in ids if i < 256).decode(errors="replace"),
        size=259,
        identity=BYTES,
        end=256,
        begin=256,
        pad=257,
        mask=258,
    )

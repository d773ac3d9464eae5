"""Number of bytes of text that each token of a tokenizer stands for."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

_BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")
_CUT = "\N{REPLACEMENT CHARACTER}"
_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
ByteCount = Callable[[Sequence[int]], int]


def byte_counter(tokenizer: Any) -> ByteCount:
    """Return a function that counts the bytes of token ids of a transformers tokenizer.

    Tokens of bytes (``ByteLevel``) and of text with a mark for the space (``Metaspace``) have a
    number of bytes each, so that a window may split a character. Other tokens are decoded together.
    Special tokens have no bytes.
    """
    width = _width_of(tokenizer)
    if width is None:
        return lambda ids: decoded_bytes(
            str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))
        )
    widths = {number: width(token) for token, number in tokenizer.get_vocab().items()}
    for number, added in tokenizer.added_tokens_decoder.items():
        widths[number] = 0 if added.special else len(added.content.encode())
    widths |= dict.fromkeys(tokenizer.all_special_ids, 0)
    return lambda ids: sum(widths.get(each, 0) for each in ids)


def decoded_bytes(text: str) -> int:
    """Return the UTF-8 bytes of decoded tokens; a character split at an end counts as one byte."""
    whole = text.strip(_CUT)
    return len(whole.encode()) + len(text) - len(whole)


def _width_of(tokenizer: Any) -> Callable[[str], int] | None:
    """Return the number of bytes of a token by its string; None where that is not enough."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None
    decoders = list(_decoders(json.loads(backend.to_str())["decoder"]))
    kinds = {each["type"] for each in decoders}
    if "ByteLevel" in kinds:
        return len
    marks = [each for each in decoders if _marks_spaces(each)]
    return (lambda token: _text_bytes(token, "ByteFallback" in kinds)) if marks else None


def _decoders(decoder: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """Yield a decoder of tokenizers, or the decoders of a sequence."""
    if decoder is not None and decoder["type"] == "Sequence":
        for each in decoder["decoders"]:
            yield from _decoders(each)
    elif decoder is not None:
        yield decoder


def _marks_spaces(decoder: dict[str, Any]) -> bool:
    if decoder["type"] == "Replace":
        return bool(decoder["pattern"] == {"String": _SPACE} and decoder["content"] == " ")
    return bool(decoder["type"] == "Metaspace" and decoder["replacement"] == _SPACE)


def _text_bytes(token: str, fallback: bool) -> int:
    if fallback and _BYTE.fullmatch(token):
        return 1
    return len(token.replace(_SPACE, " ").encode())

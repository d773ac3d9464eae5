"""Token ids of a text that is read in parts, equal to those of the whole text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from nodelens_hf.tokenizers import Tokens

PIECE = 1 << 18
"""Number of characters tokenised at once."""

OVERLAP = 1 << 10
"""Number of characters on each side of a boundary that are tokenised with both pieces."""


def ids_of(parts: Iterable[str], tokens: Tokens) -> Iterator[list[int]]:
    """Yield the ids of the text that `parts` make together, a piece at a time.

    Pieces overlap, and the later one takes over at a character where a token starts in both: a
    prefix of the tokenizer comes once, and a token may lie across a boundary. Where the two agree
    nowhere in the overlap (thousands of equal characters), and for a tokenizer without token
    offsets, the later piece is tokenised as a text of its own.
    """
    if tokens.splits_anywhere or tokens.located is None:
        for piece in _pieces(parts, split=tokens.splits_anywhere):
            yield from tokens.encode([piece])
        return
    tail: _Located | None = None
    for piece in _pieces(parts, split=True):
        here, first = _located(piece if tail is None else tail.text + piece, tokens), 0
        meeting = None if tail is None else _meeting(tail, here)
        if tail is not None and meeting is None:
            yield tail.ids
            here = _located(piece, tokens)
        elif tail is not None and meeting is not None:
            yield tail.ids[: meeting[0]]
            first = meeting[1]
        last = max(first, here.number_from(len(here.text) - 2 * OVERLAP))
        yield here.ids[first:last]
        tail = here.after(last)
    if tail is not None:
        yield tail.ids


@frozen(eq=False)
class _Located:
    """Text, token ids, and the character at which each token starts."""

    text: str
    ids: list[int]
    starts: list[int]

    def number_from(self, place: int) -> int:
        """Return the number of the first token that starts at a character or later."""
        return next((n for n, start in enumerate(self.starts) if start >= place), len(self.ids))

    def after(self, number: int) -> _Located:
        """Return the tokens from a number on, with the end of the text that they need."""
        base = max(0, len(self.text) - 3 * OVERLAP)
        starts = [start - base for start in self.starts[number:]]
        return _Located(self.text[base:], self.ids[number:], starts)


def _located(text: str, tokens: Tokens) -> _Located:
    assert tokens.located is not None
    ids, spans = tokens.located(text)
    return _Located(text, ids, [start for start, _ in spans])


def _meeting(tail: _Located, here: _Located) -> tuple[int, int] | None:
    """Return the numbers of two tokens that start at one character, with text on either side."""
    last = len(tail.text) - OVERLAP
    known: dict[int, int] = {}
    for number, start in enumerate(here.starts):
        if start > last:
            break
        known.setdefault(start, number)
    for number, start in enumerate(tail.starts):
        begins = not number or tail.starts[number - 1] < start  # several ids may be one character
        if start <= last and begins and start in known:
            return number, known[start]
    return None


def _pieces(parts: Iterable[str], split: bool) -> Iterator[str]:
    """Yield texts of at least `PIECE` characters except the last; `split` splits longer parts."""
    waiting: list[str] = []
    size = 0
    for part in parts:
        step = PIECE if split else max(1, len(part))
        for first in range(0, len(part), step):
            waiting.append(part[first : first + step])
            size += len(waiting[-1])
            if size >= PIECE:
                yield "".join(waiting)
                waiting, size = [], 0
    if waiting:
        yield "".join(waiting)

"""Sentences with a tag per word, for the classification of tokens."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from attrs import frozen

from nodelens.data.class_names import ordered
from nodelens.errors import DataError
from nodelens.interfaces.dataset import LoadedData, Samples
from nodelens.interfaces.statistic import IGNORED
from nodelens_hf import records
from nodelens_hf.documents import TextFiles, find_files, readable
from nodelens_hf.sampling import reservoir
from nodelens_hf.text_lines import LONGEST, numbered_lines
from nodelens_hf.windows import closed_row, matched, padded

if TYPE_CHECKING:
    from nodelens_hf.text import Text
    from nodelens_hf.tokenizers import Tokens

COLUMNS = (".conll", ".conllu", ".bio", ".iob", ".iob2", ".tsv", ".txt")
"""Files of one word a line: blank lines end sentences."""
_CONLLU = (1, 3)
"""Columns of the form and of the universal part of speech in CoNLL-U."""


@frozen
class Sentence:
    """Words, and the tag of each."""

    words: tuple[str, ...]
    tags: tuple[str, ...]


def labelled_words(text: Text, tokens: Tokens) -> LoadedData:
    """Return padded sentences in which the first token of every word has the word's tag.

    Further tokens of a word, tokens that begin, end and pad rows have no label.
    """
    train = _chosen(text, text.files, text.windows)
    test = _chosen(text, text.test_files, None) if text.test_files else []
    classes = ordered(tag for each in train for tag in each.tags)
    unknown = next((tag for each in test for tag in each.tags if tag not in classes), None)
    if unknown is not None:
        raise DataError(f"data.test_files: tag {unknown!r} does not occur in data.files")
    made = [_samples(each, classes, text, tokens) for each in (train, test) if each]
    samples, *tests = matched(made, tokens)
    return LoadedData(samples, classes, tests[0] if tests else None, ", ".join(text.files))


def _chosen(text: Text, files: tuple[str, ...], limit: int | None) -> list[Sentence]:
    found = find_files(files, (*COLUMNS, *records.SUFFIXES))
    chosen = reservoir(sentences(TextFiles(found, text.text, text.label)), limit, text.seed)
    if not chosen:
        raise DataError(f"{', '.join(files)}: there are no tagged words")
    return chosen


def sentences(source: TextFiles) -> Iterator[Sentence]:
    """Yield the sentences of all files that have words; raises `DataError` with file and line."""
    for path in source.files:
        with readable(path):
            found = _of_records if records.has_records(path) else _of_columns
            yield from found(path, source)


def _of_records(path: Path, source: TextFiles) -> Iterator[Sentence]:
    if source.label is None:
        raise DataError("data.label: objective tags needs the field that holds the list of tags")
    for record, where in records.records(path, (source.text, source.label)):
        words, tags = (_list(record, name, where) for name in (source.text, source.label))
        if len(words) != len(tags):
            raise DataError(f"{where}: {len(words)} words and {len(tags)} tags")
        if words:
            yield Sentence(words, tags)


def _list(record: Any, name: str, where: str) -> tuple[str, ...]:
    found = record.get(name) if isinstance(record, dict) else None
    if not isinstance(found, list):
        keys = ", ".join(record) if isinstance(record, dict) else type(record).__name__
        raise DataError(
            f"{where}: no list under {name!r} (there is: {keys}); set data.text to the field of "
            "the words and data.label to that of the tags"
        )
    if None in found:
        raise DataError(f"{where}: the list under {name!r} holds null; every word needs a tag")
    return tuple(map(str, found))


def _of_columns(path: Path, source: TextFiles) -> Iterator[Sentence]:
    """Yield the sentences of a file in columns: the first holds words, the last tags.

    Of ``.conllu`` the form and the universal part of speech are read; ranges of words are left out.
    """
    words: list[str] = []
    tags: list[str] = []
    for number, line in numbered_lines(path, LONGEST):
        if not line.strip() or line.startswith("-DOCSTART-"):
            if words:
                yield Sentence(tuple(words), tuple(tags))
            words, tags = [], []
        elif not (path.suffix == ".conllu" and line.startswith("#")):
            pair = _pair(line, path, number)
            if pair is not None:
                words.append(pair[0])
                tags.append(pair[1])
    if words:
        yield Sentence(tuple(words), tuple(tags))


def _pair(line: str, path: Path, number: int) -> tuple[str, str] | None:
    tabs = path.suffix in (".conllu", ".tsv")
    parts = line.rstrip("\n").split("\t") if tabs else line.split()
    word, tag = _CONLLU if path.suffix == ".conllu" else (0, -1)
    if len(parts) < (4 if path.suffix == ".conllu" else 2):
        raise DataError(
            f"{path}, line {number}: expected a word and a tag in columns, got {line!r}"
        )
    plain = path.suffix != ".conllu" or parts[0].isdigit()
    return (parts[word], parts[tag]) if plain else None


def _samples(
    found: Sequence[Sentence], classes: tuple[str, ...], text: Text, tokens: Tokens
) -> Samples:
    number = {name: index for index, name in enumerate(classes)}
    rows = [_row(each, number, text.window, tokens) for each in found]
    inputs, mask = padded([ids for ids, _ in rows], text.window, tokens)
    targets = torch.full_like(inputs, IGNORED)
    for place, (_, labels) in enumerate(rows):
        targets[place, : len(labels)] = torch.tensor(labels, dtype=torch.int64)
    return Samples(inputs, targets, {"attention_mask": mask}, token_classes=True)


def _row(
    sentence: Sentence, number: dict[str, int], window: int, tokens: Tokens
) -> tuple[list[int], list[int]]:
    """Return the ids of a sentence, its words joined by blanks, and the label of each id."""
    if tokens.located is None:
        raise DataError(
            "data.objective: tags need a tokenizer with token offsets; save it as "
            "tokenizer.json (a fast tokenizer)"
        )
    ids, spans = tokens.located(" ".join(sentence.words))
    lengths = [len(word) + 1 for word in sentence.words]
    starts = [0, *accumulate(lengths)][:-1]
    ends = [start + length - 1 for start, length in zip(starts, lengths, strict=True)]
    first = _first_tokens(spans, starts, ends)
    labels = [
        number[sentence.tags[first[at]]] if at in first else IGNORED for at in range(len(ids))
    ]
    before, after = closed_row(tokens, window)
    cut = window - len(before) - len(after)
    blank = [IGNORED]
    return (
        [*before, *ids[:cut], *after],
        [*blank * len(before), *labels[:cut], *blank * len(after)],
    )


def _first_tokens(
    spans: Sequence[tuple[int, int]], starts: Sequence[int], ends: Sequence[int]
) -> dict[int, int]:
    """Return a mask of the first tokens of words, and the number of each token's word.

    A token belongs to the word of its last character; a token may begin with the blank.
    """
    first: dict[int, int] = {}
    for place, (_, stop) in reversed(list(enumerate(spans))):
        word = bisect_right(starts, stop - 1) - 1
        if word >= 0 and starts[word] < stop <= ends[word]:
            first[word] = place
    return {place: word for word, place in first.items()}

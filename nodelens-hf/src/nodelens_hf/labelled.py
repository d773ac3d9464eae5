"""Documents with labels, for the classification of text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from nodelens.data.class_names import ordered
from nodelens.errors import DataError
from nodelens.interfaces.dataset import LoadedData, Samples
from nodelens_hf.documents import Document, documents
from nodelens_hf.sampling import reservoir
from nodelens_hf.windows import encoded, matched, padded

if TYPE_CHECKING:
    from nodelens_hf.text import Text
    from nodelens_hf.tokenizers import Tokens


def labelled(text: Text, tokens: Tokens) -> LoadedData:
    """Return padded documents and their classes, in the order of the labels' names.

    Labels that are all integers are ordered by value.
    """
    if text.label is None:
        raise DataError("data.label: objective label needs the field that holds the label")
    train = _chosen(text, text.files, text.windows)
    test = _chosen(text, text.test_files, None) if text.test_files else []
    classes = ordered(each.label for each in train if each.label is not None)
    unknown = next((each.label for each in test if each.label not in classes), None)
    if unknown is not None:
        raise DataError(f"data.test_files: label {unknown!r} does not occur in data.files")
    made = [_samples(each, classes, text, tokens) for each in (train, test) if each]
    samples, *tests = matched(made, tokens)
    return LoadedData(samples, classes, tests[0] if tests else None, ", ".join(text.files))


def _chosen(text: Text, files: tuple[str, ...], limit: int | None) -> list[Document]:
    found = reservoir(documents(text.source(files)), limit, text.seed)
    if not found:
        raise DataError(f"{', '.join(files)}: there is no text to tokenise")
    return found


def _samples(
    found: list[Document], classes: tuple[str, ...], text: Text, tokens: Tokens
) -> Samples:
    rows = encoded((each.text for each in found), tokens, text.window)
    inputs, mask = padded(rows, text.window, tokens)
    number = {name: index for index, name in enumerate(classes)}
    targets = torch.tensor([number[str(each.label)] for each in found], dtype=torch.int64)
    return Samples(inputs, targets, {"attention_mask": mask})

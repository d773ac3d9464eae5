"""Sources and targets of text for encoder-decoders."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import functional as F

from nodelens.errors import DataError
from nodelens.interfaces.dataset import LoadedData, Samples
from nodelens.interfaces.statistic import IGNORED
from nodelens_hf.documents import Document, documents
from nodelens_hf.sampling import reservoir
from nodelens_hf.windows import encoded, matched, padded

if TYPE_CHECKING:
    import torch

    from nodelens_hf.text import Text
    from nodelens_hf.tokenizers import Tokens


def pairs(text: Text, tokens: Tokens) -> LoadedData:
    """Return padded sources, and their targets as labels, which the model shifts itself."""
    if text.label is None:
        raise DataError("data.label: objective target needs the field that holds the target")
    made = [
        _samples(_chosen(text, files, limit), text, tokens)
        for files, limit in ((text.files, text.windows), (text.test_files, None))
        if files
    ]
    samples, *tests = map(_distinct, matched(made, tokens))
    return LoadedData(samples, (), tests[0] if tests else None, ", ".join(text.files))


def _chosen(text: Text, files: tuple[str, ...], limit: int | None) -> list[Document]:
    source = text.source(files)
    plain = next((path for path in source.files if path.suffix in (".txt", ".md", ".rst")), None)
    if plain is not None:
        raise DataError(f"{plain}: sources and targets are read from records, such as JSON Lines")
    found = reservoir(documents(source), limit, text.seed)
    if not found:
        raise DataError(f"{', '.join(files)}: there is no text to tokenise")
    return found


def _samples(found: list[Document], text: Text, tokens: Tokens) -> Samples:
    sources = encoded((each.text for each in found), tokens, text.window)
    inputs, mask = padded(sources, text.window, tokens)
    ended = encoded((str(each.label) for each in found), tokens, text.window, begun=False)
    targets, real = padded(ended, text.window, tokens)
    return _labelled(inputs, mask, targets.masked_fill(real == 0, IGNORED))


def _labelled(inputs: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor) -> Samples:
    counted = (labels != IGNORED).long()
    fields = {"attention_mask": mask, "labels": labels, "decoder_attention_mask": counted}
    return Samples(inputs, labels, fields)


def _distinct(samples: Samples) -> Samples:
    """Return samples whose sources and targets have different numbers of positions.

    The readings of encoder and decoder are distinguished by these numbers.
    """
    labels = samples.fields["labels"]
    if labels.shape[1] != samples.inputs.shape[1]:
        return samples
    wider = F.pad(labels, (0, 1), value=IGNORED)
    return _labelled(samples.inputs, samples.fields["attention_mask"], wider)

"""Perplexity of a language model on text, and bits per byte."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from attrs import frozen

from nodelens.data.splits import batches
from nodelens.errors import DataError
from nodelens.findings.finding import Cell, Finding, Table
from nodelens.interfaces.statistic import IGNORED
from nodelens.training.estimate import Estimate, ratio
from nodelens.training.model_evaluation import EvaluationResult, evaluate
from nodelens_hf.compatibility import check_causal, check_vocabulary, check_window
from nodelens_hf.documents import TextFiles, find_files
from nodelens_hf.own_losses import TOKENS
from nodelens_hf.stream import token_stream
from nodelens_hf.tokenizers import Tokens, load_tokenizer
from nodelens_hf.windows import WindowSettings, windows

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from nodelens.interfaces.dataset import Samples
    from nodelens_hf.evaluations import Perplexity


@frozen(eq=False)
class TextResult:
    """Losses of a model on the windows of a text, and the bytes of the text.

    `bytes` ``(windows,)`` are the UTF-8 bytes of the text that the counted tokens stand for;
    special tokens have none.
    """

    evaluation: EvaluationResult
    bytes: NDArray[np.int64]

    @property
    def tokens(self) -> int:
        """Number of counted tokens."""
        return int(self.evaluation.counts.sum())

    @property
    def perplexity(self) -> Estimate:
        """Exponential of the mean loss of a token, with a standard error over windows."""
        return self.evaluation.perplexity_estimate

    @property
    def bits_per_byte(self) -> Estimate:
        """Summed loss in bits over the bytes of the text."""
        return ratio(self.evaluation.losses / math.log(2), self.bytes)


def measure(protocol: Perplexity, model: nn.Module, seed: int = 0) -> TextResult:
    """Measure the perplexity of a model by a protocol; the model is left unchanged.

    Raises `DataError` for files, a tokenizer or a window that do not fit, `ModelError` for a masked
    language model.
    """
    check_causal(model)
    stride = protocol.stride or protocol.window
    if stride > protocol.window:
        raise DataError(f"stride {stride} is larger than the window {protocol.window}")
    check_window(model, protocol.window)
    tokens = load_tokenizer(protocol.tokenizer, protocol.gguf_file)
    source = TextFiles(find_files(protocol.files), protocol.text)
    stream = token_stream(source, tokens, protocol.joiner, None)
    samples = windows(stream, WindowSettings(protocol.window, stride, protocol.windows, seed))
    check_vocabulary(model, samples.inputs)
    evaluation = evaluate(model, batches(samples, protocol.batch_size, TOKENS))
    return TextResult(evaluation, _bytes(samples, tokens))


def _bytes(samples: Samples, tokens: Tokens) -> NDArray[np.int64]:
    counted = (row[row != IGNORED].tolist() for row in samples.targets)
    return np.array([tokens.byte_count(ids) for ids in counted], dtype=np.int64)


def finding_of(protocol: Perplexity, result: TextResult) -> Finding:
    """Return the result with its protocol as a finding."""
    found, bits = result.perplexity, result.bits_per_byte
    stride = protocol.stride or protocol.window
    joined = "the end token" if protocol.joiner is None else repr(protocol.joiner)
    said = f"windows of {protocol.window} tokens every {stride}, documents joined by {joined}"
    rows: tuple[tuple[Cell, ...], ...] = (
        ("perplexity", found.finite(), found.finite_se()),
        ("bits per byte", bits.finite(), bits.finite_se()),
        ("nats per token", *_pair(result.evaluation.loss_estimate)),
        ("tokens counted", result.tokens, None),
        ("bytes counted", int(result.bytes.sum()), None),
    )
    note = f"{said}; every token is counted once; se over windows, which are not independent."
    numbers = {str(name).replace(" ", "_"): value for name, value, _ in rows}
    return Finding(
        kind="evaluation",
        name="perplexity",
        title="Perplexity",
        headline=(
            f"perplexity {found.text('.4g')}, {bits.text('.4f')} bits per byte, on "
            f"{result.tokens} tokens: {said}",
        ),
        tables=(Table("perplexity", "Perplexity", ("measure", "value", "se"), rows, note),),
        data={
            **numbers,
            "perplexity_se": found.finite_se(),
            "bits_per_byte_se": bits.finite_se(),
            "window": protocol.window,
            "stride": stride,
            "joiner": protocol.joiner,
            "files": list(protocol.files),
        },
    )


def _pair(estimate: Estimate) -> tuple[float | None, float | None]:
    return estimate.finite(), estimate.finite_se()

"""Text from files as samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

from attrs import field, frozen, validators

from nodelens.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from nodelens.interfaces.dataset import LoadedData, Samples
    from nodelens_hf.documents import TextFiles
    from nodelens_hf.tokenizers import Tokens

_AT_LEAST_ONE: Any = validators.optional(validators.ge(1))
Objective = Literal["next", "masked", "label", "tags", "target", "none"]


@frozen
class Text:
    """Text files, tokenised once and split into rows of tokens.

    Text, Markdown and reStructuredText are read as paragraphs (what blank lines divide);
    ``.jsonl``, ``.json`` and ``.parquet`` as records. Files are read piece by piece, but a
    ``.json`` file at once.

    Attributes:
        files: files, folders and patterns such as ``docs/*.txt``.
        tokenizer: a folder or hub id with a tokenizer, or ``bytes``.
        gguf_file: a GGUF file in the tokenizer's folder that holds the tokenizer.
        test_files: files for the final evaluation; without any a fraction of the rows is.
        text: the field of a record that holds the text, or the list of words for objective tags.
        label: the field of a record that objectives label, tags and target predict; of text files
            the folder is the label.
        objective: the predicted value: the next token, masked tokens, the label of a document, the
            tags of its words, the target text of an encoder-decoder, or nothing (none).
        layout: packed splits all documents, joined, into windows; padded makes a row per document.
        window: tokens per row.
        windows: number of rows to keep, drawn at random; null keeps all.
        stride: tokens between the starts of test windows; null is the window: no overlap. Tokens
            are counted once.
        joiner: text between documents of packed text; null ends each with the end token.
        masked: fraction of the tokens that are masked.
        seed: seed of the choice of windows and masked tokens.
        cache: folder for token files; null keeps them for the run only.
    """

    files: tuple[str, ...]
    tokenizer: str
    gguf_file: str | None = None
    test_files: tuple[str, ...] = ()
    text: str = "text"
    label: str | None = None
    objective: Objective = field(default="next", validator=validators.in_(get_args(Objective)))
    layout: Literal["packed", "padded"] = field(
        default="packed", validator=validators.in_(("packed", "padded"))
    )
    window: int = field(default=256, validator=validators.ge(2))
    windows: int | None = field(default=4096, validator=_AT_LEAST_ONE)
    stride: int | None = field(default=None, validator=_AT_LEAST_ONE)
    joiner: str | None = "\n\n"
    masked: float = field(default=0.15, validator=(validators.gt(0.0), validators.lt(1.0)))
    seed: int = field(default=0, validator=validators.ge(0))
    cache: str | None = None

    def load(self) -> LoadedData:
        """Read and tokenise the files; raises `DataError` with the file and the mistake."""
        from nodelens_hf.tokenizers import load_tokenizer

        if self.stride is not None and self.stride > self.window:
            raise DataError(f"data.stride {self.stride} is larger than the window {self.window}")
        if self.stride is not None and not self.test_files:
            raise DataError(
                "data.stride is the stride of test windows; give data.test_files as well"
            )
        tokens = load_tokenizer(self.tokenizer, self.gguf_file)
        if self.objective == "label":
            from nodelens_hf.labelled import labelled

            return labelled(self, tokens)
        if self.objective == "tags":
            from nodelens_hf.token_classification import labelled_words

            return labelled_words(self, tokens)
        if self.objective == "target":
            from nodelens_hf.pairs import pairs

            return pairs(self, tokens)
        return self._unlabelled(tokens)

    @property
    def labels(self) -> bool:
        """Whether a field of the records is predicted."""
        return self.objective in ("label", "tags", "target")

    def _unlabelled(self, tokens: Tokens) -> LoadedData:
        from nodelens.interfaces.dataset import LoadedData

        samples = self._samples(self.files, tokens, self.windows, self.window)
        stride = self.stride or self.window
        origin = f"{', '.join(self.files)}, {self.layout} to {self.window} tokens"
        if not self.test_files:
            return LoadedData(samples, classes=(), origin=origin)
        from nodelens_hf.windows import matched

        test = self._samples(self.test_files, tokens, None, stride)
        samples, test = matched((samples, test), tokens)
        return LoadedData(samples, classes=(), test=test, origin=origin)

    def _samples(
        self, files: tuple[str, ...], tokens: Tokens, limit: int | None, stride: int
    ) -> Samples:
        from nodelens_hf import windows as cutting

        if self.layout == "packed":
            from nodelens_hf.stream import token_stream

            stream = token_stream(self.source(files), tokens, self.joiner, self._cache())
            cut = cutting.WindowSettings(self.window, stride, limit, self.seed)
            samples = cutting.windows(stream, cut)
        else:
            samples = self._rows(files, tokens, limit)
        if self.objective == "masked":
            return cutting.masked(samples, tokens, self.masked, self.seed)
        return cutting.unlabelled(samples) if self.objective == "none" else samples

    def _rows(self, files: tuple[str, ...], tokens: Tokens, limit: int | None) -> Samples:
        """Return one padded row per document, drawn at random if there are too many."""
        from nodelens.interfaces.dataset import Samples
        from nodelens.interfaces.statistic import IGNORED
        from nodelens_hf import windows as cutting
        from nodelens_hf.documents import documents
        from nodelens_hf.sampling import reservoir

        chosen = reservoir(documents(self.source(files)), limit, self.seed)
        if not chosen:
            raise DataError(f"{', '.join(files)}: there is no text to tokenise")
        texts = (each.text for each in chosen)
        rows = cutting.encoded(texts, tokens, self.window, closed=self.objective != "next")
        inputs, mask = cutting.padded(rows, self.window, tokens)
        following = cutting.next_tokens(inputs).masked_fill(cutting.next_tokens(mask) != 1, IGNORED)
        return Samples(inputs, following, {"attention_mask": mask})

    def source(self, files: tuple[str, ...]) -> TextFiles:
        """Return the files and the fields of their records."""
        from nodelens_hf.documents import TextFiles, find_files

        return TextFiles(find_files(files), self.text, self.label if self.labels else None)

    def _cache(self) -> Path | None:
        from pathlib import Path

        return None if self.cache is None else Path(self.cache).expanduser()

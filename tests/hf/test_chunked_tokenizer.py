"""A text that is tokenised in pieces has the tokens that it has as a whole."""

import random

import pytest

from nodelens_hf import chunked_tokenizer
from nodelens_hf.chunked_tokenizer import ids_of
from nodelens_hf.tokenizers import Tokens, load_tokenizer

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

WORDS = "a the ants, can't walk. 12 345 – naïve Straße 東京に 🙂 (so) end; x.y z!\n\n Two  spaces\n"


def text(length=40_000, seed=0):
    draw = random.Random(seed)
    some = WORDS.split(" ")
    return " ".join(draw.choice(some) for _ in range(length // 5))[:length]


def byte_level():
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    return made, tokenizers.trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet)


def metaspace():
    """A space before the text, then before every word, as in Llama 2."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="<unk>"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace(prepend_scheme="first")
    return made, tokenizers.trainers.BpeTrainer(vocab_size=300, special_tokens=["<unk>"])


def whole_text():
    """Merges go over spaces and lines: nothing divides the text before them."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="<unk>"))
    made.normalizer = tokenizers.normalizers.Sequence(
        [tokenizers.normalizers.Prepend("▁"), tokenizers.normalizers.Replace(" ", "▁")]
    )
    made.pre_tokenizer = tokenizers.pre_tokenizers.Split("\n\n", "merged_with_next")
    return made, tokenizers.trainers.BpeTrainer(vocab_size=500, special_tokens=["<unk>"])


def word_piece():
    made = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token="[UNK]"))
    made.normalizer = tokenizers.normalizers.BertNormalizer()
    made.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    return made, tokenizers.trainers.WordPieceTrainer(vocab_size=200, special_tokens=["[UNK]"])


def unigram():
    made = tokenizers.Tokenizer(tokenizers.models.Unigram())
    made.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    return made, tokenizers.trainers.UnigramTrainer(
        vocab_size=150, unk_token="<unk>", special_tokens=["<unk>"]
    )


KINDS = [byte_level, metaspace, whole_text, word_piece, unigram]


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.__name__)
def tokens(request, tmp_path_factory):
    made, trainer = request.param()
    made.train_from_iterator([text(20_000, seed=1)], trainer)
    folder = str(tmp_path_factory.mktemp("tokenizer"))
    transformers.PreTrainedTokenizerFast(tokenizer_object=made).save_pretrained(folder)
    return load_tokenizer(folder)


@pytest.mark.parametrize("piece", [700, 5_000, 39_990])
def test_pieces_do_not_show(tokens, piece, monkeypatch):
    monkeypatch.setattr(chunked_tokenizer, "PIECE", piece)
    monkeypatch.setattr(chunked_tokenizer, "OVERLAP", 100)
    whole = text()
    parts = [whole[first : first + 333] for first in range(0, len(whole), 333)]
    found = [each for ids in ids_of(parts, tokens) for each in ids]
    assert found == tokens.encode([whole])[0]


def test_a_long_part_is_divided(tokens, monkeypatch):
    calls = []

    def located(text):
        calls.append(len(text))
        return tokens.located(text)

    seen = Tokens(tokens.encode, tokens.decode, tokens.byte_count, 1, "seen", located=located)
    monkeypatch.setattr(chunked_tokenizer, "PIECE", 4_000)
    monkeypatch.setattr(chunked_tokenizer, "OVERLAP", 100)
    found = [each for ids in ids_of([text()], seen) for each in ids]
    assert found == tokens.encode([text()])[0]
    assert max(calls) <= 4_300


def test_where_pieces_agree_nowhere_no_text_is_lost(monkeypatch):
    """Tokens of seven equal characters, counted from where a piece begins."""

    def located(text):
        starts = range(0, len(text), 7)
        spans = [(start, min(start + 7, len(text))) for start in starts]
        return [end - start for start, end in spans], spans

    sevens = Tokens(lambda texts: [], str, len, 8, "sevens", located=located)
    monkeypatch.setattr(chunked_tokenizer, "PIECE", 100)
    monkeypatch.setattr(chunked_tokenizer, "OVERLAP", 4)
    found = [each for ids in ids_of(["x" * 1_000], sevens) for each in ids]
    assert sum(found) == 1_000


def test_a_tokenizer_that_does_not_locate_gets_whole_parts(monkeypatch):
    seen = []

    def encode(texts):
        seen.extend(texts)
        return [[len(text)] for text in texts]

    monkeypatch.setattr(chunked_tokenizer, "PIECE", 10)
    blind = Tokens(encode, str, len, 8, "blind")
    assert list(ids_of(["x" * 25, "yy", "z" * 9], blind)) == [[25], [11]]
    assert seen == ["x" * 25, "yy" + "z" * 9]


def test_bytes_need_no_overlap(monkeypatch):
    monkeypatch.setattr(chunked_tokenizer, "PIECE", 3)
    found = [each for ids in ids_of(["naïve", " text"], load_tokenizer("bytes")) for each in ids]
    assert found == list("naïve text".encode())


def test_no_text_has_no_tokens(tokens):
    assert [each for ids in ids_of([], tokens) for each in ids] == []

from __future__ import annotations

import json
import math

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    PreTrainedTokenizerFast,
)

import nodelens
import nodelens_hf
from nodelens.errors import DataError, ModelError
from nodelens.interfaces.evaluation import EvaluationRequest
from nodelens_hf.evaluations import Perplexity
from nodelens_hf.tokenizers import load_tokenizer

WORDS = "the quick brown fox jumps over the lazy dog, naïvely; "


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "llama", hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        vocab_size=300, max_position_embeddings=64,
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config).eval()


@pytest.fixture
def file(tmp_path):
    (tmp_path / "a.txt").write_text("\n\n".join(WORDS * n for n in (1, 2, 3)))
    return tmp_path / "a.txt"


@torch.no_grad()
def reference(model, ids, window, stride):
    """Return the summed loss in nats and the number of tokens, one window and token at a time."""
    total, count, done = 0.0, 0, 0
    for start in range(0, len(ids) - window + 1, stride):
        rows = torch.tensor([ids[start : start + window]])
        predicted = model(input_ids=rows).logits[0].double().log_softmax(-1)
        for place in range(1, window):
            if start + place > done:
                total -= float(predicted[place - 1, ids[start + place]])
                count += 1
                done = start + place
    return total, count


@pytest.mark.parametrize("stride", [16, 5, 1])
def test_equals_a_straightforward_reference(model, file, stride):
    ids = list(file.read_text().encode())
    total, count = reference(model, ids, 16, stride)
    found = nodelens_hf.perplexity(model, str(file), tokenizer="bytes", window=16, stride=stride)
    assert found.tokens == count
    assert found.perplexity.value == pytest.approx(math.exp(total / count), rel=1e-6)


def test_batch_size_changes_nothing(model, file):
    found = [
        nodelens_hf.perplexity(model, str(file), tokenizer="bytes", window=16, batch_size=size)
        for size in (1, 3, 100)
    ]
    values = [each.perplexity.value for each in found]
    assert values == pytest.approx([values[0]] * 3, rel=1e-6)


def test_bits_per_byte_of_bytes_are_the_loss_in_bits(model, file):
    file.write_text("plain letters " * 20)
    found = nodelens_hf.perplexity(model, str(file), tokenizer="bytes", window=16)
    assert found.bytes.sum() == found.tokens
    assert found.bits_per_byte.value == pytest.approx(math.log2(found.perplexity.value))


def test_bits_per_byte_do_not_ask_how_the_text_is_tokenised(model, file, tokenizer_folder):
    found = nodelens_hf.perplexity(
        model, str(file), tokenizer=str(tokenizer_folder), window=8, stride=4
    )
    text = file.read_text().encode()
    assert int(found.bytes.sum()) == pytest.approx(len(text), abs=20)
    assert found.tokens < len(text) / 2
    bits = found.evaluation.losses.sum() / math.log(2) / found.bytes.sum()
    assert found.bits_per_byte.value == pytest.approx(bits)


def test_the_model_stays_as_it_was(model, file):
    model.train()
    try:
        nodelens_hf.perplexity(model, str(file), tokenizer="bytes", window=16)
        assert model.training
    finally:
        model.eval()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 16, "stride": 17}, "stride 17 is larger than the window 16"),
        ({"window": 65}, "a window of 65 tokens is longer than the model's 64 positions"),
        ({"window": 64, "joiner": None}, None),
    ],
)
def test_what_does_not_fit_is_said(model, file, options, message):
    if message is None:
        assert (
            nodelens_hf.perplexity(model, str(file), tokenizer="bytes", **options).tokens == 63 * 5
        )
        return
    with pytest.raises(DataError, match=message):
        nodelens_hf.perplexity(model, str(file), tokenizer="bytes", **options)


def test_the_finding_states_the_protocol(model, file):
    request = EvaluationRequest(model, seed=0, device=torch.device("cpu"))
    finding = Perplexity((str(file),), "bytes", window=16, stride=8).evaluate(request)
    assert "windows of 16 tokens every 8, documents joined by " in finding.headline[0]
    assert finding.data["tokens_counted"] == finding.data["bytes_counted"] == 327
    assert json.dumps(finding.data)


BERT = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2,
    "vocab_size": 259, "max_position_embeddings": 64,
}  # fmt: skip
CJK = "\n\n".join(["天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏"] * 20)
SPECIAL = ["<unk>", "<s>", "</s>"]


def small(**fields):
    given = {**BERT, "vocab_size": 97, **fields}
    return AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **given)).eval()


def test_tokens_that_the_model_has_no_embedding_for(file):
    said = "the data hold token 195 and LlamaForCausalLM has 97 tokens; use the tokenizer that"
    with pytest.raises(DataError, match=said):
        nodelens_hf.perplexity(small(), str(file), tokenizer="bytes", window=16)


def test_an_evaluation_with_a_tokenizer_of_its_own_is_checked(file, tmp_path, tokenizer_folder):
    asked = {"name": "perplexity", "files": [str(file)], "tokenizer": str(tokenizer_folder)}
    settings = {
        "name": "other",
        "model": {"name": "hf", "config": {**BERT, "model_type": "llama"}},
        "data": {"name": "text", "files": [str(file)], "tokenizer": "bytes", "window": 16,
                 "batch_size": 4},
        "capture": {"samples": 8, "folds": 2},
        "metrics": ["weight_l2"],
        "evaluations": [{**asked, "window": 16}],
        "reports": ["json"],
        "output": str(tmp_path / "outputs"),
    }  # fmt: skip
    with pytest.raises(DataError, match=r"the data hold token .* has 259 tokens"):
        nodelens.run(settings)


@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta"])
def test_a_masked_language_model_has_no_perplexity(file, kind):
    given = {"dim": 16, "n_heads": 2, "n_layers": 1} if kind == "distilbert" else {}
    config = AutoConfig.for_model(kind, **{**BERT, **given})
    with pytest.raises(ModelError, match="it reads the token that it would predict"):
        nodelens_hf.perplexity(
            AutoModelForMaskedLM.from_config(config), str(file), tokenizer="bytes", window=16
        )


@pytest.mark.parametrize("decoder", [False, True])
def test_bert_is_causal_as_a_decoder_only(file, decoder):
    config = AutoConfig.for_model("bert", **BERT, is_decoder=decoder)
    model = AutoModelForCausalLM.from_config(config).eval()
    if decoder:
        assert nodelens_hf.perplexity(model, str(file), tokenizer="bytes", window=16).tokens
        return
    with pytest.raises(ModelError, match="BertLMHeadModel is a masked language model"):
        nodelens_hf.perplexity(model, str(file), tokenizer="bytes", window=16)


@pytest.mark.parametrize("stride", [16, 32])
def test_windows_may_cut_characters_of_several_bytes(model, file, tokenizer_folder, stride):
    file.write_text(CJK)
    cut = {"window": 32, "stride": stride}
    for tokenizer in ("bytes", str(tokenizer_folder)):  # the tokenizer has no token of two of them
        found = nodelens_hf.perplexity(model, str(file), tokenizer=tokenizer, **cut)
        inside = CJK.count("\n\n") if tokenizer != "bytes" else 0
        assert found.tokens <= int(found.bytes.sum()) <= found.tokens + inside


@pytest.fixture(params=["first", "fallback"])
def spaced(request, tmp_path):
    """Return a folder with a tokenizer of text in which a mark stands for the space."""
    mark = {"prepend_scheme": "first"}
    if request.param == "first":
        inner = Tokenizer(models.Unigram())
        inner.decoder = decoders.Metaspace(**mark)
    else:
        inner = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
        steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
        inner.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)])
    inner.pre_tokenizer = pre_tokenizers.Metaspace(**mark)
    if request.param == "first":
        kinds = {"vocab_size": 60, "unk_token": "<unk>", "special_tokens": SPECIAL}
        trainer = trainers.UnigramTrainer(**kinds, show_progress=False)
    else:
        named = [*SPECIAL, *(f"<0x{number:02X}>" for number in range(256))]
        trainer = trainers.BpeTrainer(vocab_size=290, special_tokens=named, show_progress=False)
    inner.train_from_iterator([WORDS.replace("ï", "i")] * 20, trainer)
    if request.param == "fallback":  # the tokens of bytes are those of the model, not special
        described = json.loads(inner.to_str())
        kept = [each for each in described["added_tokens"] if each["content"] in SPECIAL]
        inner = Tokenizer.from_str(json.dumps({**described, "added_tokens": kept}))
    names = ("unk_token", "bos_token", "eos_token")
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=inner, **dict(zip(names, SPECIAL, strict=True))
    )
    wrapped.save_pretrained(tmp_path / "tokenizer")
    return tmp_path / "tokenizer"


@pytest.mark.parametrize("window", [7, 8])
def test_spaces_at_the_start_of_a_window_count(model, file, spaced, window):
    text = (WORDS.replace("ï", "i") * 6).strip()
    file.write_text(text)
    found = nodelens_hf.perplexity(model, str(file), tokenizer=str(spaced), window=window)
    _, spans = load_tokenizer(str(spaced)).located(text)
    starts = range(0, len(spans) - window + 1, window)
    expected = [spans[n + window - 1][1] - spans[n + 1][0] for n in starts]
    assert found.bytes.tolist() == expected


def test_bytes_of_tokens(spaced, tokenizer_folder):
    tokens = load_tokenizer(str(spaced))
    if "ByteFallback" in (spaced / "tokenizer.json").read_text():
        ids = tokens.encode(["the 天"])[0]
        assert tokens.byte_count(ids) == len(" the 天".encode())
        assert tokens.byte_count(ids[:-1]) == len(" the 天".encode()) - 1
    assert tokens.byte_count([1, 2]) == 0
    folder = spaced.parent / "added"
    wrapped = PreTrainedTokenizerFast.from_pretrained(tokenizer_folder)
    wrapped.add_tokens([AddedToken("天地", normalized=False)])
    wrapped.save_pretrained(folder)
    tokens = load_tokenizer(str(folder))
    ids = tokens.encode(["the 天地玄"])[0]
    assert tokens.byte_count([1, *ids, 2]) == len("the 天地玄".encode())
    assert tokens.byte_count(ids[:-1]) == len("the 天地玄".encode()) - 1

"""What labels mean to transformers models: the loss of a row is the model's own for that row."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

import nodelens
from nodelens.capture.batches import as_batch
from nodelens.capture.own_batches import BatchReader, label_parameters
from nodelens.errors import DataError
from nodelens.losses.choice import resolved
from nodelens_hf.model_labels import labels_of

SMALL = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2, "vocab_size": 31}
G = torch.Generator().manual_seed(0)
LENGTHS = torch.tensor([7, 4, 6])
MASK = (torch.arange(7) < LENGTHS[:, None]).long()
IDS = torch.randint(3, 31, (3, 7), generator=G) * MASK + (1 - MASK)
PADDED = IDS.masked_fill(MASK == 0, -100)


def made(auto, kind, **fields):
    torch.manual_seed(1)
    model = auto.from_config(AutoConfig.for_model(kind, **fields)).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


def llama():
    return made(AutoModelForCausalLM, "llama", num_hidden_layers=1, **SMALL)


def bert(auto, **fields):
    return made(auto, "bert", num_hidden_layers=1, max_position_embeddings=8, **SMALL, **fields)


def t5():
    sizes = {"d_model": 16, "d_ff": 24, "d_kv": 8, "num_layers": 1, "num_heads": 2}
    return made(AutoModelForSeq2SeqLM, "t5", **sizes, vocab_size=31, decoder_start_token_id=0)


def bart(auto=AutoModelForSeq2SeqLM):
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 24}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "decoder_ffn_dim": 20}
    tokens = {"vocab_size": 31, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2}
    return made(auto, "bart", **sizes, **heads, **tokens, max_position_embeddings=32)


def some_masked(share=3):
    return IDS.masked_fill((torch.arange(7) % share != 1) | (MASK == 0), -100)


TARGETS = torch.randint(3, 31, (3, 5), generator=G)
TARGETS[1, 3:] = -100
SAME_LENGTH = torch.cat([TARGETS, torch.tensor([[4, 5], [-100, -100], [7, -100]])], dim=1)
CLASSES, YES_OR_NO = torch.tensor([2, 0, 1]), torch.tensor([[1.0, 0], [0, 0], [1, 1]])
NUMBERS = torch.tensor([0.5, -1.0, 2.0])
BASE = {"input_ids": IDS, "attention_mask": MASK}
CASES = {
    "causal": (llama, PADDED),
    "seq2seq, T5": (t5, TARGETS),
    "seq2seq, Bart": (bart, TARGETS),
    "seq2seq, sources as long as targets": (t5, SAME_LENGTH),
    "masked": (lambda: bert(AutoModelForMaskedLM), some_masked()),
    "tokens": (lambda: bert(AutoModelForTokenClassification, num_labels=31), some_masked(2)),
    "rows": (lambda: bert(AutoModelForSequenceClassification, num_labels=3), CLASSES),
    "several of a row": (lambda: bert(AutoModelForSequenceClassification), YES_OR_NO),
    "numbers": (lambda: bert(AutoModelForSequenceClassification, num_labels=1), NUMBERS),
}


def read(model, batch):
    """Return the loss and the batch as `nodelens.score` reads them."""
    takes = label_parameters(model)
    meaning = labels_of(model).interpret(BatchReader(takes).read(batch))
    assert not meaning.problem
    return resolved(None, meaning.loss), BatchReader(takes, meaning).read(batch), meaning


def one_by_one(model, batch):
    """Return the model's own loss of each row without its padding, times the number of labels."""
    losses = []
    for row in range(3):
        alone = {key: value[row : row + 1] for key, value in batch.items()}
        counted = alone["labels"] if alone["labels"].ndim > 1 else torch.zeros(1, 1)
        if alone["labels"].dtype == torch.int64 and alone["labels"].ndim > 1:
            causal = model.config.model_type == "llama"
            counted = alone["labels"][:, causal:][alone["labels"][:, causal:] != -100]
        with torch.no_grad():
            losses.append(model(**alone).loss * counted.numel())
    return torch.stack(losses)


@pytest.mark.parametrize("name", CASES)
def test_the_loss_of_a_row_is_the_models_own(name):
    make, labels = CASES[name]
    model = make()
    batch = {**BASE, "labels": labels}
    loss, read_batch, _ = read(model, batch)
    with torch.no_grad():
        found = loss(read_batch.call(model), read_batch)
    model.config.problem_type = None
    torch.testing.assert_close(found, one_by_one(model, batch), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_scores_do_not_depend_on_what_is_in_a_batch(name):
    make, labels = CASES[name]
    model = make()
    rows = {**BASE, "labels": labels}
    whole = nodelens.score(model, [rows] * 2, ["taylor"], folds=2)
    alone = [{key: value[i : i + 1] for key, value in rows.items()} for i in (0, 1, 2)] * 2
    single = nodelens.score(model, alone, ["taylor"], folds=2)
    for score in whole:
        np.testing.assert_allclose(score.values, single[score.metric, score.group].values, 1e-4)
    assert getattr(model.config, "problem_type", None) is None


def test_a_class_of_its_own_is_read_by_its_loss():
    """A model whose labels are of the same position, under a name that says nothing."""

    class Renamed(type(llama())):
        def forward(self, *args, labels=None, **kwargs):
            output = super().forward(*args, **kwargs)
            if labels is not None:
                flat = output.logits.flatten(0, 1), labels.flatten()
                output.loss = nn.functional.cross_entropy(*flat)
            return output

    torch.manual_seed(0)
    model = Renamed(llama().config).eval()
    nn.init.normal_(model.lm_head.weight)
    _, batch, _ = read(model, {**BASE, "labels": PADDED})
    assert torch.equal(batch.targets, PADDED)


def test_another_loss_is_refused_with_the_numbers_and_the_way_out():
    model = llama()
    own = type(model).forward

    def doubled(*args, **kwargs):
        output = own(model, *args, **kwargs)
        if output.loss is not None:
            output.loss = 2 * output.loss
        return output

    model.forward = doubled
    model.forward.__signature__ = __import__("inspect").signature(own)
    with pytest.raises(DataError, match=r"the loss of LlamaForCausalLM is .* give loss="):
        nodelens.score(model, [{**BASE, "labels": PADDED}] * 2, ["taylor"], folds=2)
    scores = nodelens.score(model, [{**BASE, "labels": PADDED}] * 2, ["activation_rms"], folds=2)
    assert len(scores)


def test_router_terms_are_left_out_and_named(caplog):
    fields = {"num_local_experts": 2, "num_experts_per_tok": 1, "num_hidden_layers": 1}
    model = made(AutoModelForCausalLM, "mixtral", **SMALL, **fields, num_key_value_heads=1)
    model.config.output_router_logits = True
    loss, batch, meaning = read(model, {**BASE, "labels": PADDED})
    assert meaning.left_out == ("router terms (router_aux_loss_coef)",)
    with torch.no_grad():
        found = loss(batch.call(model), batch).sum() / (batch.targets != -100).sum()
        theirs = model(**BASE, labels=PADDED, output_router_logits=False).loss
    torch.testing.assert_close(found, theirs, rtol=1e-5, atol=1e-5)


def test_pairs_have_labels_in_the_places_of_the_outputs():
    """What a dataset of NodeLens or a caller has shifted is not shifted again."""
    model, targets = llama(), torch.roll(IDS, -1, 1)
    one = nodelens.score(model, [(IDS, targets)] * 2, ["taylor"], folds=2)
    other = nodelens.score(model, [{"input_ids": IDS, "targets": targets}] * 2, ["taylor"], folds=2)
    for score in one:
        np.testing.assert_allclose(score.values, other[score.metric, score.group].values, 1e-6)


def test_a_single_label_is_read_as_a_collator_would():
    one = nodelens.score(llama(), [{**BASE, "labels": PADDED}] * 2, ["taylor"], folds=2)
    narrow = {**BASE, "label": PADDED.int()}
    other = nodelens.score(llama(), [narrow] * 2, ["taylor"], folds=2)
    for score in one:
        np.testing.assert_array_equal(score.values, other[score.metric, score.group].values)


def test_a_function_gets_the_labels_as_they_were_given():
    seen = []

    def loss(output, batch):
        seen.append(batch.targets)
        return output.logits.square().flatten(1).sum(1)

    nodelens.score(llama(), [{**BASE, "labels": PADDED}] * 2, ["taylor"], folds=2, loss=loss)
    assert all(torch.equal(each, PADDED) for each in seen)


def test_a_decoder_reads_its_labels_and_their_padding_does_not_count():
    _, batch, meaning = read(t5(), {**BASE, "labels": TARGETS})
    assert meaning.kept
    assert torch.equal(batch.kwargs["labels"], TARGETS)
    assert torch.equal(batch.decoder_mask, TARGETS != -100)
    plain = as_batch({**BASE, "labels": PADDED})
    assert "labels" not in plain.kwargs


def test_text_labels_take_the_names_of_the_outputs():
    model = bert(AutoModelForSequenceClassification, num_labels=3)
    model.config.id2label = {0: "good", 1: "bad", 2: "ugly"}
    named = {**BASE, "labels": ["ugly", "good", "bad"]}
    one = nodelens.score(model, [named] * 2, ["taylor"], folds=2)
    other = nodelens.score(model, [{**BASE, "labels": CLASSES}] * 2, ["taylor"], folds=2)
    for score in one:
        np.testing.assert_array_equal(score.values, other[score.metric, score.group].values)
    with pytest.raises(DataError, match="no class is called 'goof'; did you mean 'good'"):
        nodelens.score(model, [{**BASE, "labels": ["goof", "bad", "bad"]}], ["taylor"])

"""Sources and targets of encoder-decoders: data, and scores that do not depend on padding."""

from __future__ import annotations

import json

import pytest
import torch
from torch.nn import functional as F
from transformers import AutoConfig, AutoModelForSeq2SeqLM

import nodelens
from nodelens.data.splits import batches
from nodelens.errors import DataError
from nodelens.interfaces.dataset import Samples
from nodelens.interfaces.statistic import IGNORED
from nodelens.training.model_evaluation import evaluate
from nodelens_hf.text import Text


@pytest.fixture
def file(tmp_path):
    rows = [("the quick fox", "the"), ("a dog", "a dog naps"), ("naps", "n"), ("fox fox", "fox")]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": s, "target": t}) + "\n" for s, t in rows))
    return path


def pairs(file, **options):
    given = {"objective": "target", "label": "target", "window": 24}
    return Text(files=(str(file),), tokenizer="bytes", **{**given, **options}).load()


def model():
    config = AutoConfig.for_model(
        "t5", d_model=16, d_ff=20, d_kv=4, num_heads=2, num_layers=1, vocab_size=259,
        decoder_start_token_id=257, pad_token_id=257, eos_token_id=256,
    )  # fmt: skip
    torch.manual_seed(0)
    return AutoModelForSeq2SeqLM.from_config(config).eval()


def wider(samples, source, target):
    fields = samples.fields
    labels = F.pad(fields["labels"], (0, target), value=IGNORED)
    return Samples(
        F.pad(samples.inputs, (0, source), value=257),
        labels,
        {
            "attention_mask": F.pad(fields["attention_mask"], (0, source)),
            "labels": labels,
            "decoder_attention_mask": (labels != IGNORED).long(),
        },
    )


def test_a_target_ends_with_the_end_token_and_its_padding_has_no_label(file):
    samples = pairs(file).samples
    assert samples.targets[0].tolist() == [*b"the", 256] + [IGNORED] * 7
    assert samples.inputs[2].tolist()[:5] == [256, *b"naps"]
    assert samples.fields["decoder_attention_mask"].sum(1).tolist() == [4, 11, 2, 4]


def test_source_and_target_never_have_equally_many_positions(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "abc", "target": "abc"}')  # begin + 3, 3 + end
    samples = pairs(tmp_path / "a.jsonl").samples
    assert samples.inputs.shape[1] != samples.targets.shape[1]
    assert samples.targets[0].tolist() == [*b"abc", 256, IGNORED]


def test_plain_text_has_no_targets(tmp_path):
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(DataError, match=r"a\.txt: sources and targets are read from records"):
        pairs(tmp_path / "a.txt")
    with pytest.raises(DataError, match=r"data\.label: objective target needs the field"):
        pairs(tmp_path / "a.txt", label=None)


def test_the_loss_is_that_of_transformers(file):
    samples, net = pairs(file).samples, model()
    with torch.no_grad():
        theirs = net(samples.inputs, **samples.fields).loss
    assert evaluate(net, batches(samples, 3)).loss == pytest.approx(theirs.item(), rel=1e-6)


def test_padding_of_source_and_target_changes_no_score(file):
    samples, net = pairs(file).samples, model().double()
    metrics = ["activation_rms", "taylor", "redundancy", "loss_proxy"]
    one = nodelens.score(net, batches(samples, 2), metrics, folds=2)
    other = nodelens.score(net, batches(wider(samples, 3, 7), 4), metrics, folds=2)
    for metric in metrics:
        for group in one.groups:
            mine, theirs = (torch.as_tensor(s[metric, group].values) for s in (one, other))
            torch.testing.assert_close(theirs, mine, rtol=1e-9, atol=1e-12, equal_nan=True)


def test_equal_numbers_of_positions_are_refused_rather_than_mixed_up():
    ids, mask = torch.randint(0, 250, (2, 6)), torch.ones(2, 6, dtype=torch.int64)
    batch = {"input_ids": ids, "attention_mask": mask, "decoder_input_ids": ids}
    with pytest.raises(DataError, match="source and target have 6 positions each"):
        nodelens.score(model(), [batch], ["activation_rms"], folds=2)

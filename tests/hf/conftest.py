from __future__ import annotations

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

WORDS = "the quick brown fox jumps over the lazy dog and naps"
SPECIAL = ["<pad>", "<s>", "</s>", "<mask>"]


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory):
    """Return a folder with a byte-level BPE tokenizer: specials are 0 to 3."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    inner.train_from_iterator([WORDS] * 20, trainer)
    folder = tmp_path_factory.mktemp("tokenizer")
    names = ("pad_token", "bos_token", "eos_token", "mask_token")
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=inner, **dict(zip(names, SPECIAL, strict=True))
    )
    wrapped.save_pretrained(folder)
    return folder

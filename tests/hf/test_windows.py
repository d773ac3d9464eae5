from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nodelens.errors import DataError
from nodelens.interfaces.dataset import Samples
from nodelens.interfaces.statistic import IGNORED
from nodelens_hf.stream import TokenStream
from nodelens_hf.tokenizers import Tokens, load_tokenizer
from nodelens_hf.windows import WindowSettings, encoded, masked, next_tokens, padded, windows

BYTES = load_tokenizer("bytes")
BARE = Tokens(BYTES.encode, BYTES.decode, BYTES.byte_count, 256, "bare")


def stream(length):
    return TokenStream(np.arange(length, dtype=np.uint32), length, 1)


def test_a_window_of_t_tokens_makes_t_minus_one_predictions():
    found = windows(stream(10), WindowSettings(4, 4))
    assert found.inputs.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert found.targets.tolist() == [[1, 2, 3, IGNORED], [5, 6, 7, IGNORED]]


@given(st.integers(2, 12), st.data())
def test_with_overlap_every_token_but_the_first_counts_once(length, data):
    stride = data.draw(st.integers(1, length - 1))
    total = data.draw(st.integers(length, 60))
    found = windows(stream(total), WindowSettings(length, stride))
    counted = found.targets[found.targets != IGNORED].tolist()
    last = int(found.inputs.max())
    assert counted == list(range(1, last + 1))
    assert last > total - 1 - stride


def test_windows_are_drawn_with_the_seed_and_keep_their_order():
    cut = WindowSettings(2, 2, limit=5, seed=1)
    one, same, other = (
        windows(stream(100), each).inputs
        for each in (cut, cut, WindowSettings(2, 2, limit=5, seed=2))
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert one[:, 0].tolist() == sorted(set(one[:, 0].tolist()))
    assert len(one) == 5


def test_a_text_shorter_than_a_window_says_what_to_change():
    with pytest.raises(DataError, match=r"data\.window: the text has 3 tokens and a window 4"):
        windows(stream(3), WindowSettings(4, 4))


def test_rows_are_padded_on_the_right_and_cut():
    inputs, mask = padded([[1, 2, 3], [4]], 2, BYTES)
    assert inputs.tolist() == [[1, 2], [4, 257]]
    assert mask.tolist() == [[1, 1], [1, 0]]


def test_without_padding_token_the_end_token_pads_and_without_both_nothing_can():
    ending = Tokens(BYTES.encode, BYTES.decode, BYTES.byte_count, 257, "ending", end=256)
    assert padded([[1, 2], [4]], 9, ending)[0].tolist() == [[1, 2], [4, 256]]
    with pytest.raises(DataError, match="neither a padding nor an end token"):
        padded([[1]], 4, BARE)


def test_the_last_token_has_no_next_one():
    assert next_tokens(torch.tensor([[5, 6]])).tolist() == [[6, IGNORED]]


def test_documents_stand_between_begin_and_end():
    marks = Tokens(BYTES.encode, BYTES.decode, BYTES.byte_count, 259, "marks", begin=256, end=258)
    assert encoded(["ab"], marks, 9) == [[256, 97, 98, 258]]
    assert encoded(["abc"], marks, 4) == [[256, 97, 98, 258]]
    assert encoded(["abc"], marks, 4, closed=False) == [[256, 97, 98, 99]]
    assert encoded(["ab"], BARE, 9) == [[97, 98]]
    with pytest.raises(DataError, match="leave no room for text"):
        encoded(["ab"], marks, 2)


def test_only_masked_tokens_have_labels():
    inputs = torch.randint(0, 200, (40, 50), generator=torch.Generator().manual_seed(0))
    inputs[:, 0], inputs[:, 40:] = 256, 257
    mask = (inputs != 257).long()
    found = masked(Samples(inputs, inputs, {"attention_mask": mask}), BYTES, 0.2, seed=3)
    chosen = found.inputs == BYTES.mask
    assert torch.equal(found.targets != IGNORED, chosen)
    assert torch.equal(found.targets[chosen], inputs[chosen])
    assert not chosen[:, 0].any()
    assert not chosen[:, 40:].any()
    assert chosen[:, 1:40].double().mean() == pytest.approx(0.2, abs=0.03)


def test_masking_needs_a_mask_token():
    with pytest.raises(DataError, match="has no mask token; use objective: next"):
        masked(Samples(torch.zeros(1, 2).long(), torch.zeros(1, 2).long()), BARE, 0.5, 0)

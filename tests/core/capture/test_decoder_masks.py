"""Batches of encoder-decoders: two kinds of positions, told apart by their number."""

from __future__ import annotations

import pytest
import torch

from nodelens.capture.batches import Batch, as_batch
from nodelens.capture.hooks.batch_forward import BatchForward
from nodelens.errors import DataError

IDS = torch.arange(10).view(2, 5)
MASK = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
TARGET_MASK = torch.tensor([[1, 0, 0], [1, 1, 1]])


def batch(**changes):
    given = {"input_ids": IDS, "attention_mask": MASK, "decoder_attention_mask": TARGET_MASK}
    return as_batch(given | changes)


def test_both_masks_are_read_from_a_mapping():
    found = batch()
    assert torch.equal(found.mask, MASK.bool())
    assert torch.equal(found.decoder_mask, TARGET_MASK.bool())
    assert "decoder_attention_mask" in found.kwargs


def test_without_a_mask_of_its_own_all_that_a_decoder_reads_counts():
    given = {"input_ids": IDS, "attention_mask": MASK, "decoder_input_ids": IDS[:, :4]}
    assert as_batch(given).decoder_mask.tolist() == [[True] * 4] * 2
    assert as_batch({"input_ids": IDS, "decoder_input_ids": IDS}).decoder_mask is None


@pytest.mark.parametrize(("axes", "length"), [((5,), 5), ((3,), 3), ((3, 5), 5), ((7,), 5)])
def test_the_number_of_positions_says_whose_they_are(axes, length):
    found = batch()
    assert found.length_in(axes) == length
    mask = BatchForward.of(found).mask_of(length)
    assert torch.equal(mask, (MASK if length == 5 else TARGET_MASK).bool())


def test_rows_and_devices_take_the_decoders_mask_along():
    found = batch()
    assert found.rows_where(torch.tensor([False, True])).decoder_mask.tolist() == [[True] * 3]
    assert found.to(torch.device("meta")).decoder_mask.device.type == "meta"


def test_rows_that_are_padded_left_stay_where_they_are():
    assert BatchForward.of(batch(attention_mask=MASK.flip(1))).segments is None


def test_what_cannot_be_told_apart_is_refused():
    with pytest.raises(DataError, match="source and target have 5 positions each"):
        batch(decoder_attention_mask=MASK)
    with pytest.raises(DataError, match="packed rows are for models without a decoder"):
        Batch((IDS,), segments=torch.zeros_like(IDS), decoder_mask=TARGET_MASK.bool())

"""Models that lie on several devices: statistics stay where their site is."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nodelens.capture.batches import Batch
from nodelens.statistics.gradients import GradientMoments, RowGradients
from nodelens.statistics.gram import Gram
from nodelens.statistics.moments import Moments, RowMoments
from nodelens.statistics.targets import TargetMoments

ASKED = (
    Moments(),
    Moments(reads="preactivation"),
    RowMoments(),
    GradientMoments(),
    GradientMoments(labels="model"),
    RowGradients(),
    Gram(),
    Gram(reads="input"),
    TargetMoments(),
)


class Sharded(nn.Module):
    """A stream that is read on one device, and again after something was added on the next."""

    def __init__(self, devices=("cpu", "cpu")):
        super().__init__()
        torch.manual_seed(0)
        self.devices = devices
        self.embed = nn.Embedding(11, 6)
        self.up, self.down = nn.Linear(6, 8), nn.Linear(8, 6)
        self.late_up, self.late_down = nn.Linear(6, 7), nn.Linear(7, 6)
        self.head = nn.Linear(6, 11)
        self.double()
        for module in (self.embed, self.up, self.down):
            module.to(devices[0])
        for module in (self.late_up, self.late_down, self.head):
            module.to(devices[1])

    def forward(self, ids):
        x = self.embed(ids)
        x = x + self.down(F.gelu(self.up(x)))
        x = x.to(self.devices[1])
        x = x + self.late_down(F.gelu(self.late_up(x)))
        return self.head(x)


def batches():
    g = torch.Generator().manual_seed(4)
    ids = torch.randint(0, 11, (6, 5), generator=g)
    mask = torch.arange(5) < torch.tensor([5, 3, 4, 5, 2, 1]).unsqueeze(1)
    left = mask.flip(1)
    halves = (slice(0, 3), mask[:3]), (slice(3, 6), left[3:])
    return [Batch((ids[rows],), targets=ids[rows], mask=real) for rows, real in halves]


def test_the_model_on_one_device_is_read(capture_of):
    got = capture_of(Sharded(), batches(), ASKED)
    assert {"up:neurons", "late_up:neurons"} <= got.states.keys()


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("devices", [("cpu", "cuda:0"), ("cuda:0", "cpu"), ("cuda:0", "cuda:0")])
def test_statistics_live_on_the_device_of_their_site(devices, capture_of, check_same):
    expected = capture_of(Sharded(), batches(), ASKED)
    model = Sharded(devices)
    there = [batch.to(torch.device(devices[0])) for batch in batches()]
    got = capture_of(model, there, ASKED, device=devices[0])
    for place, index in {"up:neurons": 0, "late_up:neurons": 1}.items():
        found = {tensor.device for state in got.states[place].values() for tensor in state.values()}
        assert found == {torch.device(devices[index])}
    for states in got.states.values():
        for state in states.values():
            assert len({tensor.device for tensor in state.values()}) == 1
            state.update({name: tensor.cpu() for name, tensor in state.items()})
    check_same(got, expected)

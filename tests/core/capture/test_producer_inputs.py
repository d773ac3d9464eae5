"""What weights are multiplied with: unfolded exactly, read once, with the covariance of outputs."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nodelens.capture.producer_inputs import features_of, input_shape, outputs_of, weight_rows
from nodelens.statistics.gram import Gram
from nodelens.statistics.moments import Moments


class Conv1D(nn.Module):
    """The transposed linear layer of GPT-2: its weight is ``(inputs, outputs)``."""

    def __init__(self, outputs, inputs):
        super().__init__()
        self.nx, self.nf = inputs, outputs
        self.weight = nn.Parameter(torch.randn(inputs, outputs))

    def forward(self, x):
        return x @ self.weight


LAYERS = {
    "linear": (lambda: nn.Linear(6, 5, bias=False), (3, 4, 6)),
    "gpt2": (lambda: Conv1D(5, 6), (3, 4, 6)),
    "plain": (lambda: nn.Conv2d(4, 6, 3, bias=False), (3, 4, 7, 8)),
    "padding": (lambda: nn.Conv2d(4, 6, 3, padding=(2, 1), bias=False), (3, 4, 7, 8)),
    "stride": (lambda: nn.Conv2d(4, 6, (3, 2), stride=(2, 3), bias=False), (3, 4, 7, 8)),
    "dilation": (lambda: nn.Conv2d(4, 6, 3, dilation=(2, 1), bias=False), (3, 4, 7, 8)),
    "groups": (lambda: nn.Conv2d(4, 6, 3, groups=2, padding=1, bias=False), (3, 4, 7, 8)),
    "depthwise": (lambda: nn.Conv2d(4, 8, 3, groups=4, stride=2, bias=False), (3, 4, 7, 8)),
    "circular": (
        lambda: nn.Conv2d(4, 6, 3, padding=(1, 2), padding_mode="circular", bias=False),
        (3, 4, 7, 8),
    ),
    "reflect": (
        lambda: nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect", bias=False),
        (3, 4, 7, 8),
    ),
    "same": (lambda: nn.Conv2d(4, 6, (4, 3), padding="same", bias=False), (3, 4, 7, 8)),
    "pointwise": (lambda: nn.Conv2d(4, 6, 1, bias=False), (3, 4, 7, 8)),
    "one dimension": (lambda: nn.Conv1d(4, 6, 3, stride=2, groups=2, bias=False), (3, 4, 9)),
    "three": (lambda: nn.Conv3d(4, 6, (2, 3, 1), dilation=2, bias=False), (3, 4, 5, 6, 4)),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name", LAYERS)
def test_weights_times_features_are_what_the_module_writes(name):
    make, shape = LAYERS[name]
    torch.manual_seed(0)
    module = make().double()
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    features = features_of(module, x)
    known = input_shape(module)
    weight = weight_rows(module, module.weight)
    assert (features.shape[-1], len(weight)) == (known.features, known.outputs)
    blocks = features.unflatten(-1, (known.blocks, -1))
    rows = weight.unflatten(0, (known.blocks, -1))
    written = torch.einsum("...bf,bof->...bo", blocks, rows).flatten(-2)
    assert torch.allclose(written, outputs_of(module, module(x)), rtol=1e-12, atol=1e-13)


def test_what_has_no_plain_weight_is_not_unfolded():
    assert input_shape(nn.ConvTranspose2d(4, 6, 3)) is None
    assert input_shape(nn.Embedding(4, 6)) is None


class Convolutions(nn.Module):
    def __init__(self, **options):
        super().__init__()
        torch.manual_seed(2)
        self.first = nn.Conv2d(2, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 6, 3, bias=False, **options)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.second(F.relu(self.first(x))).mean((2, 3)))


@pytest.mark.parametrize(
    "options",
    [{}, {"groups": 2, "stride": 2}, {"padding": 1, "padding_mode": "circular"}, {"dilation": 2}],
    ids=str,
)
def test_the_covariance_of_the_input_gives_the_variance_of_the_output(options, capture_of, summary):
    model = Convolutions(**options).double()
    x = torch.randn(9, 2, 7, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    got = capture_of(model, [(x[:4],), (x[4:],)], (Gram(reads="input"), Moments(reads="input")))
    gram = summary(got, got.plan.input_of["second (input)"], Gram(reads="input"))
    written = model.second(F.relu(model.first(x))).movedim(1, -1).flatten(0, -2)
    blocks = model.second.groups
    covariance = gram.covariance if blocks > 1 else gram.covariance.unsqueeze(0)
    weight = model.second.weight.flatten(1).unflatten(0, (blocks, -1))
    variance = torch.einsum("bof,bfg,bog->bo", weight, covariance, weight).flatten()
    assert torch.allclose(variance, written.var(0, correction=0), rtol=1e-10)
    moments = summary(got, got.plan.input_of["second (input)"], Moments(reads="input"))
    mean = moments.mean.view(blocks, -1)
    assert torch.allclose(torch.einsum("bof,bf->bo", weight, mean).flatten(), written.mean(0))


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.first = nn.Linear(5, 6)
        self.gate, self.up = nn.Linear(6, 8), nn.Linear(6, 8)
        self.down = nn.Linear(8, 3)

    def forward(self, x):
        x = torch.tanh(self.first(x))
        return self.down(F.silu(self.gate(x)) * self.up(x))


def test_modules_that_read_one_tensor_share_its_statistics(capture_of, summary):
    model = Gated().double()
    x = torch.randn(9, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    got = capture_of(model, [(x,)], (Gram(reads="input"),))
    gate, up = (got.plan.input_of[f"{name} (input)"] for name in ("gate", "up"))
    assert gate == up
    assert sum("gate" in name or "up" in name for name in got.fired) == 1
    found = summary(got, gate, Gram(reads="input"))
    read = torch.tanh(model.first(x)).detach()
    assert torch.allclose(found.covariance, torch.cov(read.T, correction=0), rtol=1e-10)


class SequenceFirst(nn.Module):
    """Works on ``(tokens, samples, features)`` inside, as many transformers do."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.up, self.down = nn.Linear(5, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.down(F.relu(self.up(x.transpose(0, 1)))).mean(0)


def test_samples_are_where_the_model_puts_them(capture_of, check_same):
    """Rows of ``(tokens, samples, …)`` are its columns: folds and row means follow them."""
    from nodelens.statistics.gradients import RowGradients
    from nodelens.statistics.moments import RowMoments

    class SamplesFirst(SequenceFirst):
        def forward(self, x):
            return self.down(F.relu(self.up(x))).mean(1)

    x = torch.randn(8, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    y = torch.arange(8) % 3
    asked = (RowMoments(), RowGradients(), Moments())
    one, other = (
        capture_of(kind().double(), [(x, y)], asked) for kind in (SamplesFirst, SequenceFirst)
    )
    check_same(other, one)
    for statistic in asked:
        for name, tensor in one.states["up:neurons"][statistic].items():
            found = other.states["up:neurons"][statistic][name]
            assert torch.allclose(tensor, found, rtol=1e-9), (statistic, name)


class Frames(nn.Module):
    """Frames of a film, ``(samples × frames, …)`` to the convolution."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.conv, self.head = nn.Conv2d(1, 4, 3), nn.Linear(4, 3)

    def forward(self, x):
        maps = F.relu(self.conv(x.flatten(0, 1)))
        return self.head(maps.unflatten(0, x.shape[:2]).mean((1, 3, 4)))


def test_rows_times_frames_are_positions_of_their_row(capture_of, summary):
    x = torch.randn(5, 3, 1, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    got = capture_of(
        Frames().double(), [(x,)], (Moments(reads="input"), Moments(reads="preactivation"))
    )
    place = got.plan.input_of["conv (input)"]
    assert summary(got, place, Moments(reads="input")).count == 5 * 3 * 16
    found = summary(got, "conv:channels", Moments(reads="preactivation"))
    written = Frames().double().conv(x.flatten(0, 1)).movedim(1, -1).flatten(0, -2)
    assert torch.allclose(found.mean, written.mean(0), rtol=1e-12)

"""Small networks of every kind, with an example input each: the architecture suite."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations


def conv(a, b, kernel=3, **options):
    return nn.Conv2d(a, b, kernel, padding=kernel // 2, **options)


def image(channels=3, size=16):
    return torch.randn(2, channels, size, size)


def mlp():
    return nn.Sequential(
        nn.Linear(7, 12), nn.Tanh(), nn.Linear(12, 10), nn.GELU(), nn.Linear(10, 3)
    ), torch.randn(5, 7)


def vgg():
    return nn.Sequential(
        conv(3, 6),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        conv(6, 8),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 10),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(10, 3),
    ), image()


class Block(nn.Module):
    def __init__(self, a, b, stride):
        super().__init__()
        self.one = conv(a, b, stride=stride, bias=False)
        self.norm1 = nn.BatchNorm2d(b)
        self.two = conv(b, b, bias=False)
        self.norm2 = nn.BatchNorm2d(b)
        self.short = nn.Conv2d(a, b, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x):
        y = self.norm2(self.two(F.relu(self.norm1(self.one(x)))))
        return F.relu(y + self.short(x))


def resnet():
    return nn.Sequential(
        conv(3, 6),
        Block(6, 6, 1),
        Block(6, 10, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(10, 3),
    ), image()


class DenseNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = conv(3, 4)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(4 + 5 * n), nn.ReLU(), conv(4 + 5 * n, 5))
            for n in range(3)
        )
        self.transition = nn.Conv2d(19, 8, 1)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        x = self.stem(x)
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return self.head(self.transition(x).relu().mean((2, 3)))


def densenet():
    return DenseNet(), image()


class Inverted(nn.Module):
    def __init__(self, a, hidden):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(a, hidden, 1),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(),
            conv(hidden, hidden, groups=hidden),
            nn.BatchNorm2d(hidden),
            nn.Hardswish(),
            nn.Conv2d(hidden, a, 1),
        )

    def forward(self, x):
        return x + self.layers(x)


def mobilenet():
    return nn.Sequential(
        conv(3, 6, stride=2),
        Inverted(6, 14),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 3),
    ), image()


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down1, self.down2, self.middle = conv(3, 4), conv(4, 6), conv(6, 8)
        self.up1 = nn.ConvTranspose2d(8, 6, 2, 2)
        self.join1 = conv(12, 5)
        self.join2 = conv(9, 7)
        self.head = nn.Conv2d(7, 2, 1)

    def forward(self, x):
        a = F.relu(self.down1(x))
        b = F.relu(self.down2(F.max_pool2d(a, 2)))
        c = F.relu(self.middle(F.max_pool2d(b, 2)))
        y = F.relu(self.join1(torch.cat([self.up1(c), b], 1)))
        y = F.interpolate(y, scale_factor=2, mode="bilinear")
        return self.head(F.relu(self.join2(torch.cat([y, a], 1))))


def unet():
    return UNet(), image()


class SqueezeExcite(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.body = conv(3, 8), conv(8, 6)
        self.squeeze, self.excite = nn.Linear(8, 4), nn.Linear(4, 8)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        x = F.relu(self.stem(x))
        scale = torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean((2, 3))))))
        x = x * scale[:, :, None, None]
        return self.head(self.body(x).mean((2, 3)))


def squeeze_excite():
    return SqueezeExcite(), image()


class WaveNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv1d(2, 6, 1)
        self.gates = nn.ModuleList(nn.Conv1d(6, 10, 2, dilation=2**n) for n in range(3))
        self.outs = nn.ModuleList(nn.Conv1d(5, 6, 1) for _ in range(3))
        self.skips = nn.ModuleList(nn.Conv1d(5, 8, 1) for _ in range(3))
        self.head = nn.Conv1d(8, 3, 1)

    def forward(self, x):
        x, total = self.stem(x), 0
        for n, (gate, out, skip) in enumerate(zip(self.gates, self.outs, self.skips, strict=True)):
            a, b = gate(F.pad(x, (2**n, 0))).chunk(2, 1)
            y = torch.tanh(a) * torch.sigmoid(b)
            x = x + out(y)
            total = total + skip(y)
        return self.head(F.relu(total))


def wavenet():
    return WaveNet(), torch.randn(2, 2, 17)


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.embed = nn.Embedding(11, 7)
        self.layers = kind(7, 5, num_layers=2, batch_first=True, bidirectional=True)
        self.hidden = nn.Linear(10, 9)
        self.head = nn.Linear(9, 3)

    def forward(self, tokens):
        y, _ = self.layers(self.embed(tokens))
        return self.head(F.relu(self.hidden(y[:, -1])))


def lstm():
    return Recurrent(nn.LSTM), torch.randint(0, 11, (2, 6))


def gru():
    return Recurrent(nn.GRU), torch.randint(0, 11, (2, 6))


def transformer_encoder():
    layer = nn.TransformerEncoderLayer(12, 4, 20, batch_first=True)
    return nn.Sequential(
        nn.Linear(7, 12), nn.TransformerEncoder(layer, 2), nn.Linear(12, 3)
    ), torch.randn(2, 5, 7)


class Shuffled(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.grouped = conv(3, 8), conv(8, 12, groups=2)
        self.read = nn.Conv2d(12, 5, 1)

    def forward(self, x):
        x = self.grouped(F.relu(self.stem(x)))
        b, c, h, w = x.shape
        x = x.view(b, 2, c // 2, h, w).transpose(1, 2).reshape(b, c, h, w)
        return self.read(x).mean((2, 3))


def channel_shuffle():
    return Shuffled(), image()


def channel_shuffle_module():
    return nn.Sequential(
        conv(3, 8), conv(8, 12, groups=2), nn.ChannelShuffle(2), conv(12, 5)
    ), image()


def pixel_shuffle():
    return nn.Sequential(
        conv(3, 6), nn.ReLU(), conv(6, 20), nn.PixelShuffle(2), conv(5, 3)
    ), image()


def pixel_unshuffle():
    return nn.Sequential(
        conv(3, 6), nn.ReLU(), nn.PixelUnshuffle(2), conv(24, 5), nn.ReLU(), conv(5, 3)
    ), image()


def group_norm():
    return nn.Sequential(
        conv(3, 8),
        nn.GroupNorm(4, 8),
        nn.SiLU(),
        conv(8, 6),
        nn.InstanceNorm2d(6, affine=True),
        conv(6, 3),
    ), image()


def grouped():
    return nn.Sequential(conv(3, 8), conv(8, 12, groups=4), nn.ReLU(), conv(12, 3)), image()


def depth_multiplier():
    return nn.Sequential(conv(3, 5), conv(5, 10, groups=5), nn.ReLU(), conv(10, 3)), image()


def conv1d():
    return nn.Sequential(
        nn.Conv1d(2, 6, 3),
        nn.BatchNorm1d(6),
        nn.ReLU(),
        nn.MaxPool1d(2),
        nn.Conv1d(6, 4, 3),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    ), torch.randn(2, 2, 17)


def conv3d():
    return nn.Sequential(
        nn.Conv3d(2, 6, 3), nn.BatchNorm3d(6), nn.ReLU(), nn.AvgPool3d(2), nn.Conv3d(6, 4, 3)
    ), torch.randn(2, 2, 11, 11, 11)


def transposed():
    return nn.Sequential(
        nn.Linear(5, 12),
        nn.Unflatten(1, (3, 2, 2)),
        nn.ConvTranspose2d(3, 6, 2, 2),
        nn.ReLU(),
        nn.ConvTranspose2d(6, 4, 2, 2, groups=2),
        nn.ReLU(),
        nn.ConvTranspose2d(4, 1, 2, 2),
    ), torch.randn(2, 5)


class MixerBlock(nn.Module):
    def __init__(self, tokens, width):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.tokens1, self.tokens2 = nn.Linear(tokens, 7), nn.Linear(7, tokens)
        self.channels1, self.channels2 = nn.Linear(width, 11), nn.Linear(11, width)

    def forward(self, x):
        y = self.norm1(x).transpose(1, 2)
        x = x + self.tokens2(F.gelu(self.tokens1(y))).transpose(1, 2)
        return x + self.channels2(F.gelu(self.channels1(self.norm2(x))))


class Mixer(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 10, 4, 4)
        self.blocks = nn.Sequential(MixerBlock(16, 10), MixerBlock(16, 10))
        self.head = nn.Linear(10, 3)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        return self.head(self.blocks(x).mean(1))


def mixer():
    return Mixer(), image()


class ConvMixed(nn.Module):
    """Mixes tokens with a convolution of kernel one over the transposed sequence."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(5, 6)
        self.mix = nn.Conv1d(9, 9, 1)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        return self.head(F.relu(self.mix(self.embed(x))))


def conv_mixed():
    return ConvMixed(), torch.randn(2, 9, 5)


class Bilinear(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(4, 6), nn.Linear(5, 7)
        self.meet = nn.Bilinear(6, 7, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x, y):
        return self.head(F.relu(self.meet(F.relu(self.left(x)), F.relu(self.right(y)))))


def bilinear():
    return Bilinear(), (torch.randn(2, 4), torch.randn(2, 5))


class LayerScaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(4, 6)
        self.up, self.down = nn.Linear(6, 10), nn.Linear(10, 6)
        self.scale = nn.Parameter(torch.randn(6))
        self.token = nn.Parameter(torch.randn(1, 1, 6))
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        x = self.stem(x)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1)
        x = x + self.scale * self.down(F.relu(self.up(x)))
        return self.head(x[:, 0])


def layer_scale():
    return LayerScaled(), torch.randn(2, 5, 4)


def weight_norm():
    return nn.Sequential(
        parametrizations.weight_norm(nn.Linear(4, 6)),
        nn.ReLU(),
        parametrizations.weight_norm(nn.Linear(6, 5)),
        nn.ReLU(),
        nn.Linear(5, 3),
    ), torch.randn(2, 4)


def spectral_norm():
    return nn.Sequential(
        nn.Linear(4, 6),
        nn.ReLU(),
        parametrizations.spectral_norm(nn.Linear(6, 5)),
        nn.ReLU(),
        nn.Linear(5, 3),
    ), torch.randn(2, 4)


class SeveralEnds(nn.Module):
    def __init__(self):
        super().__init__()
        self.image, self.words = conv(3, 6), nn.Embedding(11, 6)
        self.body = nn.Linear(6, 8)
        self.a, self.b = nn.Linear(8, 3), nn.Linear(8, 2)

    def forward(self, pixels, tokens=None):
        x = self.image(pixels).mean((2, 3)) + self.words(tokens).mean(1)
        x = F.relu(self.body(x))
        return {"classes": self.a(x), "more": [self.b(x), None]}


def several_ends():
    return SeveralEnds(), (image(), torch.randint(0, 11, (2, 5)))


class Einsum(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(4, 6)
        self.heads = nn.Linear(6, 15)
        self.weight = nn.Parameter(torch.randn(3, 5, 7))
        self.head = nn.Linear(7, 2)

    def forward(self, x):
        x = self.heads(F.relu(self.embed(x))).unflatten(-1, (3, 5))
        return self.head(torch.einsum("bnhd,hde->bne", x, self.weight))


def einsum():
    return Einsum(), torch.randn(2, 9, 4)


class Auxiliary(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.body = conv(3, 6), conv(6, 8)
        self.extra = nn.Linear(6, 4)
        self.more = nn.Linear(4, 3)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        x = F.relu(self.stem(x))
        y = self.head(F.relu(self.body(x)).mean((2, 3)))
        if not self.training:
            return y
        return y, self.more(F.relu(self.extra(x.mean((2, 3)))))


def auxiliary():
    return Auxiliary(), image()


class CrossAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens = nn.Parameter(torch.randn(1, 5, 12))
        self.q, self.k, self.v = nn.Linear(12, 12), nn.Linear(7, 12), nn.Linear(7, 12)
        self.out = nn.Linear(12, 12)
        self.head = nn.Linear(12, 3)

    def heads(self, x):
        return x.unflatten(-1, (3, 4)).transpose(1, 2)

    def forward(self, x):
        q = self.heads(self.q(self.tokens.expand(x.shape[0], -1, -1)))
        k, v = self.heads(self.k(x)), self.heads(self.v(x))
        y = torch.softmax(q @ k.transpose(-1, -2) / 2, -1) @ v
        y = self.tokens + self.out(y.transpose(1, 2).flatten(2))
        return self.head(y)


def cross_attention():
    return CrossAttention(), torch.randn(2, 9, 7)


class Experts(nn.Module):
    """Routes to experts with Python control flow: only real tensors trace."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(5, 6)
        self.router = nn.Linear(6, 3)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 6)) for _ in range(3)
        )
        self.head = nn.Linear(6, 2)

    def forward(self, x):
        x = self.embed(x)
        y = torch.zeros_like(x)
        chosen = self.router(x).argmax(-1)
        for number, expert in enumerate(self.experts):
            rows = torch.where(chosen == number)[0]
            if len(rows):
                y = y.index_add(0, rows, expert(x[rows]))
        return self.head(x + y)


def experts():
    return Experts(), torch.randn(64, 5)


SUITE = {
    case.__name__: case
    for case in (
        mlp, vgg, resnet, densenet, mobilenet, unet, squeeze_excite, wavenet, lstm, gru,
        transformer_encoder, channel_shuffle, channel_shuffle_module, pixel_shuffle,
        pixel_unshuffle, group_norm, grouped, depth_multiplier, conv1d, conv3d, transposed, mixer,
        conv_mixed, bilinear, layer_scale, weight_norm, spectral_norm, several_ends, einsum,
        auxiliary, cross_attention, experts,
    )
}  # fmt: skip


def build(name):
    """Return a model of the suite in evaluation mode and its inputs as a tuple."""
    torch.manual_seed(0)
    model, inputs = SUITE[name]()
    return model.eval(), inputs if isinstance(inputs, tuple) else (inputs,)

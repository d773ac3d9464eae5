"""Small networks and data in float64, for statistics that run the model themselves."""

import torch
from torch import nn
from torch.nn import functional as F


class Perceptron(nn.Module):
    """Two hidden layers, through which everything passes."""

    def __init__(self, activation=nn.Tanh):
        super().__init__()
        self.first, self.second = nn.Linear(4, 5), nn.Linear(5, 3)
        self.head = nn.Linear(3, 3)
        self.act = activation()

    def forward(self, x):
        return self.head(self.act(self.second(self.act(self.first(x)))))


class Convolutional(nn.Module):
    """A normalised convolution with an activation in place, and a flattened head."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.act = nn.ReLU(inplace=True)
        self.head = nn.Linear(4 * 9, 3)

    def forward(self, x):
        return self.head(self.act(self.norm(self.conv(x))).flatten(1))


class Tokens(nn.Module):
    """Embeddings and one hidden layer, token by token, so that the layer cuts the network."""

    def __init__(self):
        super().__init__()
        self.embed, self.place = nn.Embedding(11, 6), nn.Embedding(9, 6)
        self.up, self.head = nn.Linear(6, 8), nn.Linear(8, 11)

    def forward(self, input_ids, attention_mask=None):
        places = self.place(torch.arange(input_ids.shape[1]))
        return self.head(F.gelu(self.up(self.embed(input_ids) + places)))


class Attention(nn.Module):
    """Embeddings, one head of fused attention and a feed-forward layer, labels by token."""

    def __init__(self):
        super().__init__()
        self.embed, self.place = nn.Embedding(11, 6), nn.Embedding(5, 6)
        self.q, self.k, self.v, self.o = (nn.Linear(6, 6) for _ in range(4))
        self.up, self.down = nn.Linear(6, 8), nn.Linear(8, 6)
        self.head = nn.Linear(6, 11)

    def forward(self, input_ids, attention_mask=None):
        x = self.embed(input_ids) + self.place(torch.arange(input_ids.shape[1]))
        q, k, v = (layer(x).unsqueeze(1) for layer in (self.q, self.k, self.v))
        x = x + self.o(F.scaled_dot_product_attention(q, k, v).squeeze(1))
        return self.head(x + self.down(F.gelu(self.up(x))))


def made(kind, *args):
    """Return a network of one kind whose weights are always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return kind(*args).double().eval()


def data(*shape, classes=3, seed=0):
    """Return inputs and labels."""
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(*shape, generator=random, dtype=torch.float64)
    return x, torch.randint(0, classes, shape[:1], generator=random)


def batches(x, y, sizes=(7,)):
    """Return ``(inputs, targets)`` batches, cut into these sizes over and over."""
    found, first = [], 0
    while first < len(x):
        size = sizes[len(found) % len(sizes)]
        found.append((x[first : first + size], y[first : first + size]))
        first += size
    return found

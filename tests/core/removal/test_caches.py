"""Caches in plain attributes, warm before a removal: what is handed back runs, or is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nodelens.channels.infer import infer
from nodelens.errors import ModelError
from nodelens.masks import mask
from nodelens.removal.removal import remove

X = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
KEEP = {"a:neurons": [0, 2, 4, 6]}


class Scaled(nn.Module):
    """Scales its nodes by sums of a table, which evaluation computes once."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3)
        self.table = nn.Parameter(torch.randn(8, 5))
        self.forget()

    def forget(self):
        self.cached = None

    def computed(self):
        return self.table.sum(1).detach()

    def scale(self):
        if self.cached is None:
            self.cached = self.computed()
        return self.cached

    def forward(self, x):
        scale = self.table.sum(1) if self.training else self.scale()
        return self.b(torch.relu(self.a(x)) * scale)


class ForgetsInAnyMode(Scaled):
    def train(self, mode=True):
        self.forget()
        return super().train(mode)


class InMapping(Scaled):
    def forget(self):
        self.cached = {}

    def scale(self):
        if "scale" not in self.cached:
            self.cached["scale"] = self.computed()
        return self.cached["scale"]


class InMappingForgets(InMapping):
    def train(self, mode=True):
        self.forget()
        return super().train(mode)


class InList(Scaled):
    def forget(self):
        self.cached = []

    def scale(self):
        if not self.cached:
            self.cached.append(self.computed())
        return self.cached[0]


class AsAttribute(Scaled):
    def forget(self):
        vars(self).pop("cached", None)

    def scale(self):
        if not hasattr(self, "cached"):
            self.cached = self.computed()
        return self.cached


class InObject(Scaled):
    class Store:
        def __init__(self):
            self.tensor = None

    def forget(self):
        self.cached = self.Store()

    def scale(self):
        if self.cached.tensor is None:
            self.cached.tensor = self.computed()
        return self.cached.tensor


KINDS = (
    Scaled,
    ForgetsInAnyMode,
    InMapping,
    InMappingForgets,
    InList,
    AsAttribute,
    InObject,
)


def _cold(kind):
    torch.manual_seed(0)
    return kind().eval()


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_warm_model_runs_after_a_removal_in_both_modes(kind, training):
    model = _cold(kind)
    graph = infer(model, X)
    with mask(model, graph, KEEP):
        expected = model(X)
    model.forget()
    model(X)
    model.train(training)
    removal = remove(model, graph, KEEP, X)
    assert {verdict.status for verdict in removal.verdicts} == {"exact"}
    for mode in (training, False, True, False):
        model.train(mode)
        for _ in range(2):
            assert torch.allclose(model(X), expected, atol=1e-5)


def test_the_notes_name_the_caches_that_were_emptied():
    model = _cold(InMapping)
    graph = infer(model, X)
    model(X)
    notes = remove(model, graph, KEEP, X).notes
    assert notes == ("caches were emptied, the next forward fills them: cached.scale",)


def test_a_cold_model_keeps_its_attributes():
    model = _cold(InMapping)
    cache = model.cached
    removal = remove(model, infer(model, X), KEEP, X)
    assert removal.notes == ()
    assert model.cached is cache
    assert cache == {}


class Flagged(Scaled):
    """Nothing shows that the cache is empty but a number beside it."""

    def forget(self):
        self.cached, self.ready = None, False

    def scale(self):
        if not self.ready:
            self.cached, self.ready = self.computed(), True
        return self.cached


def test_a_cache_that_cannot_be_emptied_is_refused():
    model = _cold(Flagged)
    graph = infer(model, X)
    before = model(X)
    with pytest.raises(ModelError, match="must match the size of tensor b"):
        remove(model, graph, KEEP, X)
    assert torch.equal(model(X), before)
    assert model.ready


class Forgetful(Flagged):
    def train(self, mode=True):
        self.forget()
        return super().train(mode)


def test_a_stale_cache_that_only_a_change_of_mode_drops_is_refused():
    model = _cold(Forgetful)
    graph = infer(model, X)
    model(X)
    with pytest.raises(ModelError, match="where the model is run as it is, with what it has"):
        remove(model, graph, KEEP, X)
    assert model.a.out_features == 8


class Probed(Forgetful):
    """A stale value that fits the smaller model and is wrong."""

    def forward(self, x):
        out = self.b(torch.relu(self.a(x)))
        if self.training:
            return out + out[:1]
        if not self.ready:
            self.cached, self.ready = out[:1].detach(), True
        return out + self.cached


def test_a_stale_cache_of_the_right_shape_is_noticed():
    model = _cold(Probed)
    graph = infer(model, X)
    model(X)
    with pytest.raises(ModelError, match="of their scale from those after its mode was set"):
        remove(model, graph, KEEP, X)


class Stateful(nn.Module):
    """Every forward writes into a tensor that is no buffer."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.seen = nn.Linear(6, 8), nn.Linear(8, 3), torch.zeros(3)

    def forward(self, x):
        out = self.b(torch.relu(self.a(x)))
        self.seen += out.detach().float().sum(0)
        return out


def test_writes_into_plain_tensors_are_undone():
    model = _cold(Stateful)
    remove(model, infer(model, X), KEEP, X)
    assert torch.equal(model.seen, torch.zeros(3))

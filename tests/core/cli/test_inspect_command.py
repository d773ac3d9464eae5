"""``nodelens inspect``."""

from __future__ import annotations

import json

import pytest

CONFIG = """
threads: 1
model: {name: cnn, channels: [4, 6]}
data: {name: digits, subset: 200}
"""


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "small.yaml"
    file.write_text(CONFIG)
    return str(file)


def test_groups_are_told_with_their_owners_and_costs(nodelens, path):
    told = nodelens("inspect", path)
    assert told.code == 0, told.err
    lines = told.out.splitlines()
    assert lines[0].startswith("3 groups, 2 prunable; ")
    assert "features.0.conv:channels: 4 nodes" in lines
    assert "  written by   features.0.conv" in lines
    assert "  read by      features.1.conv" in lines
    assert "  state        frozen: model output" in lines
    assert all(len(line) <= 80 for line in lines)


def test_verify_gives_a_verdict_per_prunable_group(nodelens, path):
    told = nodelens("inspect", path, "--verify", "--json")
    found = json.loads(told.out)
    assert [verdict["status"] for verdict in found["verdicts"]] == ["exact", "exact"]
    assert [group["width"] for group in found["groups"]] == [4, 6, 10]


def test_costs_are_those_of_one_sample(nodelens, path):
    found = json.loads(nodelens("inspect", path, "--json").out)
    first = found["groups"][0]
    kernel = 9
    assert (
        first["node"]["parameters"] == kernel + 1 + 2 + 6 * kernel - 1 or first["node"]["macs"] > 0
    )
    assert found["model"]["macs"] == 64 * kernel * 4 + 16 * kernel * 4 * 6 + 6 * 4 * 10


def test_overrides_reach_the_model(nodelens, path):
    found = json.loads(nodelens("inspect", path, "model.channels=[5]", "--json").out)
    assert [group["width"] for group in found["groups"]] == [5, 10]


def test_a_figure_is_drawn(nodelens, path, tmp_path):
    figure = tmp_path / "groups.svg"
    assert nodelens("inspect", path, "--figure", str(figure)).code == 0
    assert figure.read_text().lstrip().startswith("<?xml")
    wrong = nodelens("inspect", path, "--figure", str(tmp_path / "groups.gif"))
    assert wrong.code == 2
    assert "a figure is written as svg, png, pdf, not gif" in wrong.err


def test_a_model_of_ones_own(nodelens, tmp_path, monkeypatch):
    (tmp_path / "own_inspected.py").write_text(
        "from torch import nn\n"
        "def make():\n"
        "    return nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 2))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    target = "own_inspected:make"
    told = nodelens("inspect", target, "--shape", "5", "--allow-import", "own_inspected")
    assert told.code == 0, told.err
    assert "0:neurons: 7 nodes" in told.out


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_verified.py").write_text(
        "import torch\n"
        "from torch import nn\n"
        "class Own(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.a, self.b, self.c = nn.Linear(5, 6), nn.Linear(5, 6), nn.Linear(6, 2)\n"
        "        self.d = nn.Linear(6, 2)\n"
        "    def forward(self, x):\n"
        "        if self.training:\n"
        "            raise ValueError('not to be trained')\n"
        "        h = self.c(self.a(x).tanh())\n"
        "        return h + self.d((self.b(x) * x.sum().sign()).view(-1, 6))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    return ["own_verified:Own", "--shape", "5", "--allow-import", "own_verified", "--verify"]


def test_verify_says_what_was_compared_and_what_not(nodelens, own):
    told = " ".join(nodelens("inspect", *own).out.split())
    limit = "not compared in training (ValueError: not to be trained)"
    assert f"removal 3 of 6 nodes: exact; {limit}" in told
    assert "nodes: refused because nodes of b:neurons cannot be removed: in d, " in told


def test_verify_compares_on_random_numbers(nodelens, own):
    found = json.loads(nodelens("inspect", *own, "--json").out)
    exact, refused = found["verdicts"]
    assert (exact["status"], refused["status"]) == ("exact", "refused")
    assert exact["limits"] == ["not compared in training (ValueError: not to be trained)"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["own:make"], "give the shape of one sample, such as --shape 3,224,224"),
        (["own:make", "--shape", "a,b"], "--shape: expected numbers and commas, got 'a,b'"),
        (["own:make", "--shape", "3"], "--allow-import"),
        (["nothing.yaml"], "there is no such config"),
    ],
)
def test_mistakes_are_told_in_words(nodelens, arguments, message):
    told = nodelens("inspect", *arguments)
    assert told.code == 2
    assert message in told.err
    assert "Traceback" not in told.err


def test_what_a_node_spans_and_what_is_unused_is_told(nodelens, tmp_path, monkeypatch):
    (tmp_path / "own_spanning.py").write_text(
        "from torch import nn\n\n\n"
        "class Own(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.a, self.b, self.c = nn.Linear(5, 8), nn.Linear(4, 2), nn.Linear(3, 3)\n"
        "    def forward(self, x):\n"
        "        return self.b(self.a(x).unflatten(-1, (2, 4)).relu().sum(1))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    arguments = ["own_spanning:Own", "--shape", "5", "--allow-import", "own_spanning"]
    told = nodelens("inspect", *arguments).out
    assert "MACs; 2 indices of a.weight\n" in told
    assert "the forward does not use c.weight, c.bias\n" in told
    assert json.loads(nodelens("inspect", *arguments, "--json").out)["unused"] == [
        "c.weight",
        "c.bias",
    ]

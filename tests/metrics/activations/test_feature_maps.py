"""HRank and CHIP as their authors' code has them: loops over images and maps after the ReLU."""

import pytest
import torch
from torch import nn

import nodelens


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 3, 3)
        self.head = nn.Linear(3 * 4, 2)

    def forward(self, x):
        x = self.first(x).relu()
        return self.head(self.second(x).relu().flatten(1))


@pytest.fixture(scope="module")
def model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Net().double().eval()


@pytest.fixture(scope="module")
def images():
    x = torch.randn(12, 1, 6, 6, generator=torch.Generator().manual_seed(1)).double()
    x[:4, :, :, 3:] = 0.0
    return x


@pytest.fixture(scope="module")
def scores(model, images):
    return nodelens.score(model, [images[:5], images[5:]], ["hrank", "chip"], folds=2)


def test_hrank_is_the_mean_rank_over_images(model, images, scores):
    maps = model.first(images).relu().detach()
    ranks = [[torch.linalg.matrix_rank(each).item() for each in image] for image in maps]
    expected = torch.tensor(ranks).double().mean(0).tolist()
    assert scores["hrank", "first:channels"].values.tolist() == pytest.approx(expected)
    assert min(expected) < max(expected)


def test_maps_that_are_read_flattened_have_no_rank_and_the_reason_is_told(scores):
    reason = scores.skipped["hrank", "second:channels"]
    assert "no grid of height and width" in reason
    assert "they are flattened; chip needs no grid" in reason


@pytest.mark.parametrize("layer", ["first", "second"])
def test_chip_is_the_loss_of_nuclear_norm_without_a_map(model, images, scores, layer):
    maps = model.first(images).relu()
    maps = (maps if layer == "first" else model.second(maps).relu()).detach().flatten(2)
    expected = torch.zeros(maps.shape[1]).double()
    for image in maps:
        whole = torch.linalg.matrix_norm(image, "nuc")
        for node in range(len(image)):
            without = image.clone()
            without[node] = 0.0
            expected[node] += (whole - torch.linalg.matrix_norm(without, "nuc")) / len(maps)
    found = scores["chip", f"{layer}:channels"].values.tolist()
    assert found == pytest.approx(expected.tolist())

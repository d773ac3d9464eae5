import pytest
import torch

from nodelens.model_state import own_randomness


def draw(seed, *purpose):
    with own_randomness(seed, *purpose):
        return torch.rand(3)


def test_seed_and_purpose_decide():
    assert torch.equal(draw(0, "a"), draw(0, "a"))
    assert not torch.equal(draw(0, "a"), draw(0, "b"))
    assert not torch.equal(draw(0, "a"), draw(1, "a"))


def test_the_state_outside_goes_on_as_if_nothing_had_been():
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    first = torch.rand(1)
    with pytest.raises(KeyError), own_randomness(0, "a"):
        torch.rand(100)
        raise KeyError
    assert torch.equal(torch.cat([first, torch.rand(1)]), expected)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_state_of_the_device_is_covered():
    device = torch.device("cuda", 0)
    before = torch.cuda.get_rng_state(device)
    draws = []
    for _ in range(2):
        with own_randomness(0, "a", device=device):
            draws.append(torch.rand(3, device=device))
    assert torch.equal(*draws)
    assert torch.equal(torch.cuda.get_rng_state(device), before)

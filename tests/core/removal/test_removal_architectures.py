"""Half of every prunable group removed at once, over the architecture suite: exact, or refused."""

from __future__ import annotations

import copy
import importlib.util
from pathlib import Path

import pytest
import torch

from nodelens.channels.infer import infer
from nodelens.channels.outputs import output_tensors
from nodelens.removal.removal import remove
from nodelens.removal.verify import random_keep, verify


def _suite():
    place = Path(__file__).parents[1] / "channels/architectures.py"
    spec = importlib.util.spec_from_file_location("core_architectures", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ARCHITECTURES = _suite()

# Where the model's own code, or torch's, has no place for the smaller size: the group and why.
REFUSED = {
    # torch's attention takes its width from what it is given, not from its weights
    "transformer_encoder": 1,
    # the number of channel groups, or of heads, is written into the forward
    "channel_shuffle": 1,
    "cross_attention": 1,
    "einsum": 2,
}


# Torch says so of every odd number of heads, at every construction.
@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True:UserWarning")
@pytest.mark.parametrize("name", sorted(ARCHITECTURES.SUITE))
def test_half_of_every_group(name):
    model, inputs = ARCHITECTURES.build(name)
    graph = infer(model, *inputs)
    original = copy.deepcopy(model)
    verdicts = verify(model, graph, *inputs)
    assert [p.shape for p in model.parameters()] == [p.shape for p in original.parameters()]
    refused = [verdict for verdict in verdicts if verdict.status == "refused"]
    assert len(refused) == REFUSED.get(name, 0), [str(verdict) for verdict in refused]
    for verdict in verdicts:
        assert verdict.status != "shifted" or graph[verdict.group].normalised
    keep = {
        verdict.group: random_keep(graph[verdict.group], 0.5, 0)
        for verdict in verdicts
        if verdict.status != "refused"
    }
    removal = remove(model, graph, keep, *inputs)
    assert removal.parameters[1] < removal.parameters[0]
    other = copy.deepcopy(original)
    remove(other, graph, keep, *inputs, hints=removal.rules)
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        pairs = zip(output_tensors(model(*inputs)), output_tensors(other(*inputs)), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)

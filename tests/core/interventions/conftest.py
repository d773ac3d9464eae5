import numpy as np
import pytest
import torch
from attrs import frozen
from torch import nn

from nodelens.capture.batches import Batch
from nodelens.channels.infer import infer
from nodelens.interfaces.intervention import InterventionRequest
from nodelens.scoring.scores import Score, Scores

GROUP = "0:neurons"


@frozen
class Additive:
    """A model whose loss rises by ``contribution * x`` when a node is ablated, exactly.

    Class 0 is right and has logit 0, class 1 has ``500 - sum_j c_j x``: the cross-entropy is that
    logit, to the last digit, so that damages add up and are known.
    """

    request: InterventionRequest
    contributions: np.ndarray
    inputs: np.ndarray


@pytest.fixture
def additive():
    def build(contributions, metrics=None, *, inputs=(1.0, 1.0, 2.0, 4.0), seed=0, means=None):
        contributions = torch.tensor(contributions, dtype=torch.float64)
        width = len(contributions)
        model = nn.Sequential(nn.Linear(1, width, bias=False), nn.Linear(width, 2)).double()
        with torch.no_grad():
            model[0].weight.fill_(1.0)
            model[1].weight[0] = 0.0
            model[1].weight[1] = -contributions
            model[1].bias.copy_(torch.tensor([0.0, 500.0]))
        x = torch.tensor(inputs, dtype=torch.float64).unsqueeze(1)
        labels = torch.zeros(len(x), dtype=torch.int64)
        request = InterventionRequest(
            model=model,
            graph=infer(model, x),
            scores=scores_of(metrics or {}),
            batches=[Batch((x[:1],), targets=labels[:1]), Batch((x[1:],), targets=labels[1:])],
            seed=seed,
            device=torch.device("cpu"),
            means=means or {},
            progress=lambda what, done, total: None,
        )
        return Additive(request, contributions.numpy(), np.array(inputs))

    return build


def scores_of(metrics):
    """Return scores of the one group from ``{name: values}`` or ``{name: (values, high)}``."""
    scores = {}
    for name, given in metrics.items():
        values, high = given if isinstance(given, tuple) else (given, True)
        values = np.asarray(values, dtype=np.float64)
        scores[name, GROUP] = Score(name, GROUP, values, high, "1")
    return Scores(scores)


@pytest.fixture
def table():
    """Return a table of a finding as a list of mappings."""

    def read(finding, name):
        found = next(table for table in finding.tables if table.name == name)
        return [dict(zip(found.columns, row, strict=True)) for row in found.rows]

    return read

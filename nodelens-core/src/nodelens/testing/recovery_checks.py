"""Checks of a recovery for its author's own test suite.

In a test file::

    @pytest.mark.parametrize("check", check_recovery(MyRecovery(steps=5)), ids=str)
    def test_my_recovery(check):
        check.run()
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import evolve

from nodelens.interfaces.recovery import Recovered, Recovery, RecoveryRequest
from nodelens.testing.checks import Check, demand
from nodelens.testing.imports import check_light

if TYPE_CHECKING:
    from torch import Tensor, nn


def check_recovery(instance: Recovery) -> Iterator[Check]:
    """Yield the checks of one recovery, on a small linear network with learnable labels.

    Args:
        instance: a recovery with any options.

    Returns:
        Named checks, each to be run by itself.
    """
    checks: list[tuple[str, Callable[[Recovery], None]]] = [
        ("imports without heavy packages", _light),
        ("accepts a model that it can train", _accepts),
        ("changes the weights and says how", _trains),
        ("keeps modules, names and shapes", _keeps_shape),
        ("equal requests give equal weights", _deterministic),
        ("runs the model under the masks", _masked),
        ("leaves the dense model and the global random state as they were", _unmodified),
        ("leaves modes, hooks and gradients as they were", _restored),
    ]
    for name, run in checks:
        yield Check(name, partial(run, instance))


def example_request(seed: int = 0) -> RecoveryRequest:
    """Return a network of 5 inputs, 6 hidden nodes and 3 classes, and a larger dense one."""
    import torch

    from nodelens.interfaces.dataset import Samples
    from nodelens.seeding import generator

    random = generator(seed, "recovery checks")
    inputs = torch.randn(48, 5, generator=random)
    samples = Samples(inputs, inputs[:, :3].argmax(1))
    return RecoveryRequest(
        model=_network(6, random),
        dense=_network(9, random),
        train=samples,
        calibration=samples.take(slice(0, 16)),
        batch_size=8,
        seed=seed,
        device=torch.device("cpu"),
    )


def _network(width: int, random: Any) -> nn.Module:
    import torch
    from torch import nn

    model = nn.Sequential(nn.Linear(5, width), nn.ReLU(), nn.Dropout(0.1), nn.Linear(width, 3))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=random))
    return model.eval()


def _run(instance: Recovery) -> tuple[RecoveryRequest, Recovered]:
    request = example_request()
    return request, instance.recover(request)


def _light(instance: Recovery) -> None:
    check_light(type(instance).__module__)


def _accepts(instance: Recovery) -> None:
    request = example_request()
    before = _weights(request.model)
    instance.check(request)
    demand(_same(before, _weights(request.model)), "check() has changed the weights")


def _trains(instance: Recovery) -> None:
    request, recovered = _run(instance)
    demand(isinstance(recovered, Recovered), f"recover() returned {type(recovered).__name__}")
    before = _weights(example_request().model)
    demand(not _same(before, _weights(request.model)), "the weights are as they were")
    demand(recovered.steps, "no step is recorded")
    losses = [step.loss for step in recovered.steps]
    demand(all(map(math.isfinite, losses)), f"a loss is not finite: {losses}")
    demand(recovered.weights > 0, f"{recovered.weights} parameters were trained")


def _keeps_shape(instance: Recovery) -> None:
    request, _ = _run(instance)
    before, after = (_layers(each.model) for each in (example_request(), request))
    demand(before == after, f"the modules were {before} and are {after}")
    shapes = [
        {name: tuple(value.shape) for name, value in _weights(each.model).items()}
        for each in (example_request(), request)
    ]
    demand(shapes[0] == shapes[1], f"the shapes were {shapes[0]} and are {shapes[1]}")


def _deterministic(instance: Recovery) -> None:
    import torch

    one, _ = _run(instance)
    torch.rand(7)
    other, _ = _run(instance)
    demand(_same(_weights(one.model), _weights(other.model)), "two runs gave other weights")


def _masked(instance: Recovery) -> None:
    inside: list[bool] = []

    @contextmanager
    def masked(model: nn.Module) -> Iterator[None]:
        inside.append(True)
        yield
        inside.pop()

    request = evolve(example_request(), masked=masked)
    outside: list[bool] = []
    watch = request.model.register_forward_hook(lambda *_: outside.append(not inside))
    instance.recover(request)
    watch.remove()
    demand(outside, "the model was never run")
    demand(not any(outside), "the model was run outside of request.masked(model)")


def _unmodified(instance: Recovery) -> None:
    import torch

    request = example_request()
    random = torch.get_rng_state()
    instance.recover(request)
    demand(torch.equal(random, torch.get_rng_state()), "the global random state was changed")
    dense = _weights(example_request().dense)
    demand(_same(dense, _weights(request.dense)), "the dense model's weights were changed")
    demand(not request.dense.training, "the dense model was left in training mode")


def _restored(instance: Recovery) -> None:
    request = example_request()
    request.model[0].train()  # type: ignore[index]
    instance.recover(request)
    modes = [module.training for module in request.model.modules()]
    demand(modes == [False, True, False, False, False], "the modes of the modules were changed")
    hooks = [each for each in request.model.modules() if each._forward_hooks]
    demand(not hooks, "hooks were left on the model")
    for name, parameter in request.model.named_parameters():
        demand(parameter.requires_grad, f"{name} wants no gradient any more")
        demand(parameter.grad is None, f"{name} was left with a gradient")


def _layers(model: nn.Module) -> dict[str, str]:
    return {name: type(module).__name__ for name, module in model.named_modules()}


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return copy.deepcopy(dict(model.state_dict()))


def _same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    import torch

    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)

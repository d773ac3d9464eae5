import torch

from nodelens.scoring.view import GroupView
from nodelens.testing.rewritings import REWRITINGS, pad, select_nodes, silence
from nodelens.testing.world import group_of, make_world, parameters_of, reading, with_loss
from nodelens.weights.rows import Rows


def test_the_gradient_is_that_of_the_readout_loss():
    world = make_world()
    rows, positions, _ = world.activation.shape
    wanted = torch.linspace(-1.0, 1.0, 4, dtype=torch.float64).expand(rows, positions, 4)
    a = world.activation.clone().requires_grad_()
    loss = 0.5 * (a @ world.outgoing.T - wanted).square().sum()
    (expected,) = torch.autograd.grad(loss, a)
    torch.testing.assert_close(with_loss(world, wanted).gradient, expected)


def test_equal_seeds_give_equal_worlds_and_leave_global_randomness_alone():
    before = torch.get_rng_state()
    assert torch.equal(make_world(3).pre, make_world(3).pre)
    assert not torch.equal(make_world(3).pre, make_world(4).pre)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_group_names_the_weights():
    world = make_world()
    view = GroupView(group_of(world), {}, parameters_of(world), torch.ones(4, dtype=torch.bool))
    assert torch.equal(view[Rows("producer")].matrix, world.incoming)
    assert torch.equal(view[Rows("consumer")].matrix, world.outgoing.T)


def test_functional_rewriting_keeps_what_the_readout_computes():
    world, other = make_world(), REWRITINGS["functional"](make_world())
    torch.testing.assert_close(
        other.activation @ other.outgoing.T, world.activation @ world.outgoing.T
    )
    torch.testing.assert_close(other.activation * other.gradient, world.activation * world.gradient)


def test_padding_is_masked_and_zero():
    read = reading(pad(make_world()), "activation")
    assert not read.values[~read.valid].any()
    assert not read.valid[-1].any()


def test_a_silent_node_is_zero_after_relu_only():
    world = silence(make_world(), 2)
    assert not world.activation[..., 2].any()
    assert (world.pre[..., 2] < 0).all()


def test_nodes_can_be_repeated():
    world = select_nodes(make_world(), [1, 1])
    assert torch.equal(world.activation[..., 0], world.activation[..., 1])
    assert world.nodes == 2

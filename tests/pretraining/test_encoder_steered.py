"""Small steps along an encoder's gradient, and the loss of what they change."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from idfsr_core.identity.network import EncoderNetwork
from idfsr_core.pretraining.encoder_steered import difference_loss, steered
from tests.pretraining.drawn import CONFIG


@pytest.fixture(scope="module")
def network() -> EncoderNetwork:
    torch.manual_seed(3)
    return EncoderNetwork(CONFIG)


@pytest.fixture(scope="module")
def faces() -> torch.Tensor:
    torch.manual_seed(4)
    return functional.interpolate(torch.rand(6, 3, 8, 8) * 0.6 + 0.2, (112, 112), mode="bilinear")


@pytest.fixture(scope="module")
def goals() -> torch.Tensor:
    torch.manual_seed(5)
    return functional.normalize(torch.randn(6, 12))


def _steered(network: EncoderNetwork, faces: torch.Tensor, goals: torch.Tensor, seed: int) -> torch.Tensor:
    return steered(lambda seen: network(seen)[0], faces, goals, np.random.default_rng(seed))


@pytest.mark.parametrize("seed", range(12))
def test_a_steered_face_changes_little_and_comes_nearer_to_its_goal(network, faces, goals, seed):
    led = _steered(network, faces, goals, seed)
    change = (led - faces).square().mean((1, 2, 3)).sqrt()
    assert ((change > 0.001) & (change < 0.013)).all()
    assert ((led >= 0) & (led <= 1)).all()
    with torch.no_grad():
        before, after = (functional.cosine_similarity(network(f)[0], goals) for f in (faces, led))
    assert (after > before).all()


def test_most_steps_change_lightness_alone(network, faces, goals):
    led = [_steered(network, faces, goals, seed) - faces for seed in range(30)]
    grey = [torch.allclose(change, change.mean(1, keepdim=True).expand_as(change), atol=1e-6) for change in led]
    assert 15 < sum(grey) < 30


def test_the_encoder_is_left_as_it_is(network, faces, goals):
    led = _steered(network, faces, goals, 0)
    assert not led.requires_grad
    assert all(value.grad is None for value in network.parameters())


def test_equal_draws_give_equal_faces(network, faces, goals):
    one, again, other = (_steered(network, faces, goals, seed) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_the_difference_loss_is_relative_to_the_teachers_change():
    before = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])
    step = torch.tensor([[0, 0.2, 0], [0.1, 0, 0]])
    wanted = before, before + step
    assert float(difference_loss(wanted, wanted)) == 0
    assert float(difference_loss((before, before), wanted)) == pytest.approx(1, abs=0.01)
    assert float(difference_loss((before, before - step), wanted)) == pytest.approx(4, abs=0.03)
    other = torch.roll(before, 1, 1)
    assert float(difference_loss((other, other + step), wanted)) == pytest.approx(0, abs=1e-6), "where it is counts not"


def test_a_step_that_the_teacher_does_not_see_teaches_nothing_much():
    before = torch.tensor([[1.0, 0]])
    assert float(difference_loss((before, before + torch.tensor([[0, 1e-3]])), (before, before))) < 0.02

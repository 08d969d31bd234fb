"""Faces that the encoder's own gradient leads to."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from idfsr_core.identity.network import EncoderNetwork
from idfsr_core.pretraining.encoder_steered import steered
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


@pytest.mark.parametrize("seed", range(12))
def test_a_steered_face_changes_little_and_comes_nearer_to_its_goal(network, faces, goals, seed):
    led = steered(network, faces, goals, np.random.default_rng(seed))
    change = (led - faces).square().mean((1, 2, 3)).sqrt()
    assert ((change > 0.001) & (change < 0.09)).all()
    assert ((led >= 0) & (led <= 1)).all()
    with torch.no_grad():
        before, after = (functional.cosine_similarity(network(f)[0], goals) for f in (faces, led))
    assert (after > before).all()


def test_the_learner_is_left_as_it_is(network, faces, goals):
    led = steered(network, faces, goals, np.random.default_rng(0))
    assert not led.requires_grad
    assert all(value.grad is None for value in network.parameters())


def test_equal_draws_give_equal_faces(network, faces, goals):
    one, again, other = (steered(network, faces, goals, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)

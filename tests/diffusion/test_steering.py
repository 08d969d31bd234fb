"""Steering: the face moves towards the identity, a little, and nowhere else."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from idfsr_core.diffusion.judge import Judge
from idfsr_core.diffusion.steering import CELLS, STEP, steer
from idfsr_core.errors import Cancelled
from idfsr_core.runtime import Runtime

from .judges import SIZE, linear_judge


@pytest.fixture
def judge() -> Judge:
    return linear_judge()


def _faces(count: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    faces = torch.rand(count, 3, SIZE, SIZE, generator=generator) * 0.6 + 0.2
    mask = torch.zeros(count, 1, SIZE, SIZE)
    mask[:, :, 16:48, 16:48] = 1
    return faces, mask, torch.randn(count, 6, generator=generator)


def _similarity(judge: Judge, faces: Tensor, identity: Tensor) -> Tensor:
    with torch.no_grad():
        return F.cosine_similarity(judge.encoder.embed(faces, judge.find(faces)).vectors, identity)


def test_faces_come_nearer_to_their_identity_and_nearer_with_more_steps(judge):
    faces, mask, identity = _faces()
    likeness = [_similarity(judge, steer(faces, mask, identity, judge, steps), identity) for steps in (0, 3, 12)]
    assert (likeness[1] > likeness[0]).all()
    assert (likeness[2] > likeness[1]).all()


def test_only_lightness_changes_only_inside_the_mask_and_only_a_little(judge):
    faces, mask, identity = _faces()
    change = steer(faces, mask, identity, judge, 4) - faces
    assert float((change * (1 - mask)).abs().max()) == 0
    size = change[:, :1, 16:48, 16:48].square().mean((1, 2, 3)).sqrt()
    assert (size > STEP).all()
    assert (size < 2.5 * 4 * STEP).all()  # all of the cells' change lies in the masked quarter: twice the mean
    assert torch.allclose(change[:, 0], change[:, 1], atol=1e-6)
    assert torch.allclose(change[:, 0], change[:, 2], atol=1e-6)


def test_each_step_is_shorter_than_the_one_before(judge):
    """And all of them together are as long as so many mean ones."""
    faces, mask, identity = _faces()
    seen: list[Tensor] = []
    embed = judge.encoder.embed

    def see(pictures, keypoints):
        seen.append(pictures.detach().clone())
        return embed(pictures, keypoints)

    judge.encoder.embed = see
    seen.append(steer(faces, mask, identity, judge, 5))
    moves = torch.stack([b - a for a, b in pairwise(seen)]).square().mean((1, 2, 3, 4)).sqrt()
    assert (moves[1:] < moves[:-1]).all()
    assert torch.allclose(moves.diff(), moves.diff().mean(), rtol=0.1)
    one = steer(faces, mask, identity, judge, 1) - faces
    assert float(moves.mean()) == pytest.approx(float(one.square().mean().sqrt()), rel=0.1)


def test_the_change_is_no_finer_than_its_grid(judge):
    faces, _, identity = _faces()
    change = steer(faces, torch.ones(3, 1, SIZE, SIZE), identity, judge, 4) - faces
    cells = F.adaptive_avg_pool2d(change, CELLS)
    smooth = F.interpolate(cells, size=(SIZE, SIZE), mode="bicubic", align_corners=False)
    assert float((change - smooth).square().mean()) < 0.2 * float(change.square().mean())


def test_no_steps_or_no_identity_leave_a_face_as_it_is(judge):
    faces, mask, identity = _faces()
    assert steer(faces, mask, identity, judge, 0) is faces
    assert steer(faces, mask, torch.zeros_like(identity), judge, 5) is faces
    identity[1] = 0
    steered = steer(faces, mask, identity, judge, 5)
    assert torch.equal(steered[1], faces[1])
    assert not torch.equal(steered[0], faces[0])


def test_the_length_of_the_vector_does_not_matter(judge):
    faces, mask, identity = _faces()
    assert torch.allclose(steer(faces, mask, identity, judge, 3), steer(faces, mask, identity * 7, judge, 3), atol=1e-6)


def test_a_face_comes_out_the_same_alone_and_among_others(judge):
    faces, mask, identity = _faces(11)
    among = steer(faces, mask, identity, judge, 4)
    alone = steer(faces[9:10], mask[9:10], identity[9:10], judge, 4)
    assert torch.allclose(among[9:10], alone, atol=1e-5)


def test_it_works_in_inference_mode_and_leaves_the_network_as_it_was(judge):
    faces, mask, identity = _faces()
    outside = steer(faces, mask, identity, judge, 3)
    judge.encoder.network.requires_grad_(True)
    with torch.inference_mode():
        inside = steer(faces.clone(), mask.clone(), identity.clone(), judge, 3)
    assert torch.equal(inside, outside)
    assert all(weight.requires_grad and weight.grad is None for weight in judge.encoder.network.parameters())


def test_it_can_be_cancelled(judge):
    asked = iter([False, True])
    with pytest.raises(Cancelled):
        steer(*_faces(), judge, 5, Runtime(cancelled=lambda: next(asked)))

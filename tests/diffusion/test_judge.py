"""The judge: which change of a picture makes it more like the person."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from idfsr_core.diffusion.judge import STEEPEST, Judge, judge_by
from idfsr_core.geometry import ffhq_template

from .judges import SIZE, LinearEncoder, linear_judge


@pytest.fixture
def judge() -> Judge:
    return linear_judge()


def _faces(count: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(count, 3, SIZE, SIZE, generator=generator), torch.randn(count, 6, generator=generator)


def test_a_step_along_the_slope_makes_a_face_more_like_its_person(judge):
    faces, identity = _faces()
    slope = judge.slope(faces, identity)
    keypoints = judge.find(faces)
    with torch.no_grad():
        before, after, against = (
            F.cosine_similarity(judge.encoder.embed(faces + step * slope, keypoints).vectors, identity)
            for step in (0, 0.01, -0.01)
        )
    assert (after > before).all()
    assert (against < before).all()


def test_slopes_have_one_size_whatever_the_vector_is_long(judge):
    faces, identity = _faces()
    slope = judge.slope(faces, identity)
    assert slope.square().mean((1, 2, 3)).sqrt().tolist() == pytest.approx([1] * 3, abs=0.02)
    assert slope.abs().max() <= STEEPEST
    assert torch.allclose(judge.slope(faces, identity * 7), slope, atol=1e-4)


def test_without_identity_there_is_no_slope(judge):
    faces, identity = _faces()
    identity[1] = 0
    slope = judge.slope(faces, identity)
    assert torch.equal(slope[1], torch.zeros_like(slope[1]))
    assert slope[0].any()
    assert not judge.slope(faces, torch.zeros_like(identity)).any()


def test_faces_may_be_found_by_what_was_known_of_them_before(judge):
    faces, identity = _faces(11)
    identity[2] = 0
    known = judge.find(faces)
    told = Judge(encoder=judge.encoder, find=lambda _: known)
    assert torch.equal(told.slope(faces, identity), judge.slope(faces, identity))


def test_a_face_is_judged_alike_alone_and_among_others_in_any_mode(judge):
    faces, identity = _faces(11)
    together = judge.slope(faces, identity)
    assert not together.requires_grad
    with torch.inference_mode():
        alone = judge.slope(faces[9:10].clone(), identity[9:10].clone())
    assert torch.allclose(alone, together[9:10], atol=1e-4)


def test_the_bundles_judge_sees_the_face_where_it_is_drawn():
    class Analyzer:
        def crop_points(self, faces: Tensor, rough: Tensor):
            self.rough = rough
            return type("Points", (), {"keypoints": rough + 2})()

    analyzer = Analyzer()
    found = judge_by(LinearEncoder(), analyzer).find(torch.rand(2, 3, SIZE, SIZE))  # pyright: ignore[reportArgumentType]
    assert torch.allclose(found, ffhq_template(SIZE).float() + 2)
    assert analyzer.rough.shape == (2, 5, 2)

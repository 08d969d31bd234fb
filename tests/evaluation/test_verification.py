"""Verification: the arithmetic against plain counting, and the whole on a made-up encoder."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from idfsr_core.errors import ArgumentError
from idfsr_core.evaluation.verification import (
    compare,
    roc_auc,
    tar_at_far,
    verification_json,
    verification_table,
    verify,
)
from idfsr_core.identity.encoders import Embedded
from idfsr_core.pretraining.data import FaceLibrary

scores = st.lists(st.integers(-10, 10).map(lambda n: n / 10), min_size=1, max_size=30).map(np.array)


@given(same=scores, different=scores)
@settings(max_examples=60, deadline=None)
def test_the_area_is_the_share_of_pairs_in_the_right_order(same, different):
    counted = np.mean([[1.0 if s > d else 0.5 if s == d else 0.0 for d in different] for s in same])
    assert roc_auc(same, different) == pytest.approx(counted)


@given(same=scores, different=scores, far=st.floats(0.001, 0.9))
@settings(max_examples=60, deadline=None)
def test_the_false_accept_rate_is_kept_and_not_wasted(same, different, far):
    tar, threshold = tar_at_far(same, different, far)
    assert (different > threshold).mean() <= far + 1e-9
    lower = different[different < threshold]
    if len(lower):
        assert (different > lower.max()).mean() > far - 1e-9
    assert tar == pytest.approx((same > threshold).mean())


def test_known_values():
    different = np.linspace(0, 0.999, 1000)
    assert tar_at_far(np.array([0.9985, 0.5, 2.0]), different, 1e-3) == (pytest.approx(2 / 3), pytest.approx(0.998))
    assert roc_auc(np.array([2.0]), np.array([1.0, 3.0])) == 0.5


@pytest.mark.parametrize(("same", "different"), [([], [1.0]), ([1.0], []), ([float("nan")], [1.0])])
def test_no_pairs_or_no_numbers_are_refused(same, different):
    with pytest.raises(ArgumentError):
        roc_auc(np.array(same), np.array(different))


@pytest.mark.parametrize("far", [0, 1, -0.1])
def test_an_impossible_rate_is_refused(far):
    with pytest.raises(ArgumentError):
        tar_at_far(np.ones(2), np.zeros(2), far)


def test_pairs_are_counted_once_within_a_look_and_twice_across():
    vectors = torch.nn.functional.normalize(torch.randn(5, 4), dim=1)
    people = np.array([0, 0, 0, 1, 1])
    same, different = compare(vectors, vectors, people)
    assert (len(same), len(different)) == (4, 6)
    same, different = compare(vectors, vectors.clone(), people)
    assert (len(same), len(different)) == (8, 12)


class _MeanColour:
    """Tells people apart by the colour of the picture, which shrinking keeps."""

    name, hash, dim = "colour", "0", 3

    def embed(self, image: torch.Tensor, keypoints: torch.Tensor) -> Embedded:
        assert keypoints.shape == (len(image), 5, 2)
        assert bool((keypoints.amax((1, 2)) < image.shape[-1]).all())
        vectors = torch.nn.functional.normalize(image.mean((2, 3)) - 0.5, dim=1)
        return Embedded(vectors=vectors, quality=torch.ones(len(image)))


@pytest.fixture
def library() -> FaceLibrary:
    import cv2

    rng = np.random.default_rng(0)
    photos, people = [], []
    for person in range(4):
        colour = rng.integers(0, 256, 3)
        for _ in range(3):
            photo = np.clip(colour + rng.normal(0, 6, (192, 192, 3)), 0, 255).astype(np.uint8)
            photos.append(cv2.imencode(".png", photo)[1].tobytes())
            people.append(person)
    points = np.tile(np.array([[80, 90], [112, 90], [96, 110], [82, 125], [110, 125]], np.float32), (12, 1, 1))
    return FaceLibrary(photos=photos, identities=np.array(people), names=list("abcd"), keypoints=points)


def test_the_whole_measures_every_look_and_writes_it_down(library):
    results = verify({"colour": _MeanColour()}, library, (16, 8), far=0.05)
    looks = [("clean", "clean"), ("16 px", "clean"), ("16 px", "16 px"), ("8 px", "clean"), ("8 px", "8 px")]
    assert [(r.first, r.second) for r in results] == looks
    assert all(r.auc > 0.95 for r in results)
    assert [r.same for r in results] == [12, 24, 12, 24, 12]
    table = verification_table(results)
    assert table.count("\n") == 2 + len(results)
    assert "| colour | 16 px / clean |" in table
    assert json.loads(verification_json(results))[0]["encoder"] == "colour"

"""Pictures that are nothing but a face: how much they count beside the detector's finds, and how both are joined."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from idfsr_core.faces.cropping import sample_crops
from idfsr_core.faces.face import Face
from idfsr_core.faces.filling import FILLED, LIKELY_FILLED, filling_share, middle_square, reconciled, shows_something

POINTS = np.array([[-2, 0], [2, 0], [0, 2], [-1, 4], [1, 4]], np.float32)  # eyes 4 pixels apart


def _face(x: float, y: float, score: float = 0.9) -> Face:
    points = POINTS + np.array([x, y], np.float32)
    box = np.array([x - 4, y - 3, x + 4, y + 7], np.float32)
    return Face(box=box, score=score, keypoints=points, landmarks=points.mean(0).repeat(68).reshape(2, 68).T,
                image_size=(16, 16))  # fmt: skip


@given(st.integers(3, 64), st.integers(3, 64))
def test_the_cut_counts_less_the_more_pixels_there_are(width, height):
    value, larger = (filling_share(torch.zeros(1, 3, height, width + more)) for more in (0, 3))
    assert 0 <= larger <= value <= 1
    assert (value == 1) == (max(width, height) <= FILLED)
    assert (value == 0) == (max(width, height) >= LIKELY_FILLED)


@given(st.integers(3, 20), st.integers(3, 20))
def test_the_middle_square_is_the_largest_inside_the_picture(width, height):
    (x, y, side, cosine, sine) = middle_square(torch.zeros(1, 3, height, width))[0].tolist()
    assert side == min(width, height)
    assert (cosine, sine) == (1, 0)
    assert (x - side / 2 + 0.5, y - side / 2 + 0.5) == ((width - side) / 2, (height - side) / 2)


def test_a_square_picture_is_its_own_middle():
    image = torch.rand(1, 3, 7, 7)
    torch.testing.assert_close(sample_crops(image, middle_square(image), 7), image, atol=1e-5, rtol=0)


def test_one_colour_shows_nothing():
    assert not shows_something(torch.full((1, 3, 6, 6), 0.4))
    assert shows_something(torch.linspace(0, 1, 108).view(1, 3, 6, 6))


@given(st.floats(0, 1))
def test_the_face_lies_between_find_and_filling_face(part):
    find, filling = _face(7, 6), _face(9, 6, score=0.5)
    (face,) = reconciled([find], [filling], part)
    np.testing.assert_allclose(face.keypoints, np.add(POINTS, (7 + 2 * part, 6)), atol=1e-5)
    np.testing.assert_allclose(face.box[0], 3 + 2 * part, atol=1e-5)
    assert face.score == 0.9


def test_the_nearest_find_is_the_filling_face_and_comes_first():
    other, near = _face(13, 6, score=0.95), _face(8, 6, score=0.7)
    first, second = reconciled([other, near], [_face(8, 6, score=0.5)], 0.5)
    assert first.score == 0.7
    assert second is other


@pytest.mark.parametrize(("score", "taken"), [(0.8, "find"), (0.4, "filling")])
def test_a_find_elsewhere_must_be_sure(score, taken):
    find, filling = _face(13, 6, score=score), _face(8, 6, score=0.5)
    assert reconciled([find], [filling], 0.5) == [{"find": find, "filling": filling}[taken]]


def test_one_of_both_is_enough():
    face = _face(8, 6)
    assert reconciled([face], [], 1.0) == [face]
    assert reconciled([], [face], 0.0) == [face]
    assert reconciled([], [], 0.5) == []

"""From a mesh of 468 points to 68 landmarks."""

import numpy as np
import pytest

from idfsr_core.errors import ArgumentError
from idfsr_core.faces import mesh as module
from idfsr_core.faces.mesh import MESH, face_from_mesh, landmarks_from_mesh, mesh_points
from idfsr_core.faces.points import LANDMARKS, MIRROR_68
from tests.tiny import dense_template

# The outlines of MediaPipe's face mesh (its FACEMESH_* connections), by points.
OVAL = {
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150,
    136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
}  # fmt: skip
LEFT_EYE = {33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246}
RIGHT_EYE = {263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466}
BROWS = {46, 53, 52, 65, 55, 70, 63, 105, 66, 107, 276, 283, 282, 295, 285, 300, 293, 334, 296, 336}
LIPS = {
    61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 185, 40, 39, 37, 0, 267, 269, 270, 409, 78, 95, 88, 178, 87, 14,
    317, 402, 318, 324, 308, 191, 80, 81, 82, 13, 312, 311, 310, 415,
}  # fmt: skip
PARTS = [(range(17), OVAL), (range(17, 27), BROWS), (range(36, 42), LEFT_EYE), (range(42, 48), RIGHT_EYE)]


def mesh_of(landmarks: np.ndarray) -> np.ndarray:
    """A mesh whose points lie on the landmarks that they give, and anywhere near the middle else."""
    mesh = np.tile(landmarks.mean(0), (478, 1))
    for index, place in enumerate(landmarks):
        mesh[list(mesh_points(index))] = place
    return mesh.astype(np.float32)


@pytest.mark.parametrize(("landmarks", "outline"), [*PARTS, (range(48, 68), LIPS)])
def test_every_part_is_read_off_its_own_outline(landmarks: range, outline: set[int]) -> None:
    for index in landmarks:
        assert set(mesh_points(index)) <= outline


def test_no_mesh_point_serves_two_landmarks() -> None:
    used = [point for index in range(LANDMARKS) for point in mesh_points(index)]
    assert len(used) == len(set(used))
    assert max(used) < MESH


def test_a_mesh_gives_its_landmarks_back() -> None:
    np.testing.assert_allclose(landmarks_from_mesh(mesh_of(dense_template())), dense_template(), atol=1e-4)


def test_a_mirrored_mesh_gives_mirrored_landmarks() -> None:
    both = {**module._MIRROR, **{b: a for a, b in module._MIRROR.items()}}
    order = [both.get(index, index) for index in range(478)]
    mesh = mesh_of(np.random.default_rng(0).normal(0, 10, (68, 2)))
    mirrored = landmarks_from_mesh(mesh[order] * [-1, 1])
    np.testing.assert_allclose(mirrored, landmarks_from_mesh(mesh)[MIRROR_68] * [-1, 1], atol=1e-4)


def test_a_face_from_a_mesh_has_all_that_a_face_has() -> None:
    face = face_from_mesh(mesh_of(dense_template() + 100), (400, 300), score=3.0)
    assert face.score == 1
    assert face.image_size == (400, 300)
    np.testing.assert_allclose(face.keypoints[0], dense_template()[36:42].mean(0) + 100, atol=1e-3)
    np.testing.assert_allclose(face.box[:2], dense_template().min(0) + 100, atol=1e-3)
    np.testing.assert_allclose(face.box[2:], dense_template().max(0) + 100, atol=1e-3)


@pytest.mark.parametrize("shape", [(68, 2), (478, 3), (478,)])
def test_anything_but_a_mesh_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ArgumentError, match="468 or 478"):
        landmarks_from_mesh(np.zeros(shape))
    with pytest.raises(ArgumentError, match="finite"):
        landmarks_from_mesh(np.full((478, 2), np.nan))

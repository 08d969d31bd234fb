"""A face mesh of 468 points, as MediaPipe's Face Landmarker gives it, as the 68 points that this package uses."""

from __future__ import annotations

import numpy as np

from ..errors import ArgumentError
from .face import Face
from .points import LANDMARKS, five_from_dense

MESH = 468  # points; the ten of the irises that may follow are not read

# The mesh points whose mean lies nearest to each landmark: found by laying MediaPipe's canonical face (eye centres
# together) over the mean landmarks of the compact analyzer on frontal faces. Only the image-left half and the middle
# are listed; _MIRROR has the other half.
_HALF: dict[int, tuple[int, ...]] = {
    0: (127,), 1: (234,), 2: (93,), 3: (132,), 4: (58,), 5: (172, 136), 6: (150,), 7: (176,), 8: (152,),
    17: (70,), 18: (63,), 19: (105, 52), 20: (66, 65), 21: (107, 55),
    27: (168, 6), 28: (197,), 29: (5,), 30: (4, 1), 31: (98,), 32: (97,), 33: (2,),
    36: (33,), 37: (160,), 38: (158,), 39: (133,), 40: (153,), 41: (144,),
    48: (61,), 49: (40, 39), 50: (37,), 51: (0,), 57: (17,), 58: (84, 181), 59: (91,),
    60: (78,), 61: (81, 82), 62: (13,), 66: (14,), 67: (87, 178),
}  # fmt: skip

# Landmark on the image's right -> the one on its left, and mesh points likewise.
_RIGHT = {
    16: 0, 15: 1, 14: 2, 13: 3, 12: 4, 11: 5, 10: 6, 9: 7, 26: 17, 25: 18, 24: 19, 23: 20, 22: 21, 35: 31, 34: 32,
    45: 36, 44: 37, 43: 38, 42: 39, 47: 40, 46: 41, 54: 48, 53: 49, 52: 50, 56: 58, 55: 59, 64: 60, 63: 61, 65: 67,
}  # fmt: skip
_MIRROR = {
    127: 356, 234: 454, 93: 323, 132: 361, 58: 288, 172: 397, 136: 365, 150: 379, 176: 400,
    70: 300, 63: 293, 105: 334, 52: 282, 66: 296, 65: 295, 107: 336, 55: 285, 98: 327, 97: 326,
    33: 263, 160: 387, 158: 385, 133: 362, 153: 380, 144: 373,
    61: 291, 40: 270, 39: 269, 37: 267, 84: 314, 181: 405, 91: 321, 78: 308, 81: 311, 82: 312, 87: 317, 178: 402,
}  # fmt: skip


def mesh_points(landmark: int) -> tuple[int, ...]:
    """Which mesh points give a landmark of the 300-W order."""
    if landmark in _HALF:
        return _HALF[landmark]
    return tuple(_MIRROR[point] for point in _HALF[_RIGHT[landmark]])


def landmarks_from_mesh(mesh: np.ndarray) -> np.ndarray:
    """68 landmarks [68, 2] of a face mesh [468 or more, 2], in its unit.

    The jaw of the mesh runs a tenth of an eye distance further out than that of 300-W; the inner points agree within a
    twentieth.

    Raises:
        ArgumentError: fewer points, or numbers that are not finite.
    """
    mesh = np.asarray(mesh, np.float32)
    if mesh.ndim != 2 or mesh.shape[0] < MESH or mesh.shape[1] != 2 or not np.isfinite(mesh).all():
        raise ArgumentError("face landmarks", f"shape {mesh.shape}", f"give a mesh of {MESH} or 478 finite points")
    return np.stack([mesh[list(mesh_points(index))].mean(0) for index in range(LANDMARKS)])


def face_from_mesh(mesh: np.ndarray, image_size: tuple[int, int], score: float = 1.0) -> Face:
    """A face of which only the mesh [468 or more, 2] is known, in pixels counted from their centres."""
    landmarks = landmarks_from_mesh(mesh)
    inner = np.asarray(mesh, np.float32)[:MESH]
    return Face(
        box=np.concatenate([inner.min(0), inner.max(0)]),
        score=float(np.clip(score, 0, 1)),
        keypoints=five_from_dense(landmarks),
        landmarks=landmarks,
        image_size=image_size,
    )

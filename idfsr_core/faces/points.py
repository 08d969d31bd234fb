"""The two sets of points every analyzer gives, and what mirroring a picture does to their order.

Five keypoints: left eye, right eye, nose tip, left and right mouth corner, by side of the picture. Dense landmarks: the
68 points of iBUG 300-W (jaw 0-16, brows 17-26, nose 27-35, eyes 36-47, mouth 48-67).
"""

from __future__ import annotations

import numpy as np

KEYPOINTS = 5
LANDMARKS = 68
POINTS = KEYPOINTS + LANDMARKS

# Where each point of a mirrored picture comes from: mirrored[i] = points[MIRROR[i]] with x reflected.
MIRROR_5 = np.array([1, 0, 2, 4, 3])
MIRROR_68 = np.array(
    [
        *range(16, -1, -1),  # jaw
        *range(26, 16, -1),  # brows
        *(27, 28, 29, 30, 35, 34, 33, 32, 31),  # ridge and base of the nose
        *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),  # eyes
        *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55),  # outer lips
        *(64, 63, 62, 61, 60, 67, 66, 65),  # inner lips
    ]
)


def five_from_dense(landmarks: np.ndarray) -> np.ndarray:
    """Five keypoints [..., 5, 2] read off 68 dense ones [..., 68, 2]: eye centres, nose tip, mouth corners.

    They lie some percent of the eye distance away from a five-point detector's, which defines its points otherwise.
    """
    eyes = landmarks[..., 36:42, :].mean(-2), landmarks[..., 42:48, :].mean(-2)
    return np.stack([*eyes, landmarks[..., 30, :], landmarks[..., 48, :], landmarks[..., 54, :]], axis=-2)

"""Pictures that are nothing but a face: so small that somebody must have cut them out around one.

A network of its own sees such a picture whole. How large the face in it is, and where, is told by hair, shoulders and
background as much as by the face, and by where people leave a face when they cut it out; the landmark network, which
sees a crop that a detector has laid, knows nothing of either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from .face import Face

FILLED = 8  # pixels: a picture no larger than this is nothing but a face, whatever the detector says
LIKELY_FILLED = 24  # pixels: a picture no larger than this is likely to be; the detector has a say in it
FAR = 0.7  # eye distances from the filling face to a find that cannot be the same face
DOUBTFUL = 0.6  # score below which such a find is taken for a mistake


def middle_square(image: Tensor) -> Tensor:
    """The largest upright square in the middle of a picture [1, 3, H, W], as a crop [1, 5] (see ``cropping``)."""
    height, width = image.shape[-2:]
    return image.new_tensor([[(width - 1) / 2, (height - 1) / 2, min(width, height), 1.0, 0.0]])


def shows_something(image: Tensor) -> bool:
    """Whether a picture has more than one colour."""
    return float(image.amax() - image.amin()) * 255 >= 1


def filling_share(image: Tensor) -> float:
    """How much a picture's filling face counts beside the detector's find, 1..0: the less, the more pixels there are.

    At FILLED pixels and below nothing else counts, at LIKELY_FILLED and above it places no face that was found.
    """
    side = max(image.shape[-2:])
    return min(1.0, max(0.0, (LIKELY_FILLED - side) / (LIKELY_FILLED - FILLED)))


def reconciled(faces: Sequence[Face], filling: Sequence[Face], share: float) -> list[Face]:
    """What a small picture shows, from the detector's finds (best first) and the face that fills it, if there is one.

    Where both mean one face, it lies between them, for each is off on its own, and it comes first. Where all finds
    lie elsewhere and none is sure, the cut is believed.

    Args:
        faces: by the detector.
        filling: none or one.
        share: how much the latter counts, 0..1, where both mean one face.
    """
    if not faces or not filling:
        return list(faces or filling)
    (whole,) = filling
    away = [float(np.linalg.norm(face.keypoints.mean(0) - whole.keypoints.mean(0))) for face in faces]
    nearest = int(np.argmin(away))
    if away[nearest] <= FAR * whole.eye_distance:
        return [_between(faces[nearest], whole, share), *faces[:nearest], *faces[nearest + 1 :]]
    return list(faces if faces[0].score >= DOUBTFUL else filling)


def _between(a: Face, b: Face, share: float) -> Face:
    """The weighted mean of two faces, ``share`` of it the second, with the score of the first."""
    assert a.landmarks is not None
    assert b.landmarks is not None
    mean = lambda x, y: x + np.float32(share) * (y - x)
    return replace(
        a,
        box=mean(a.box, b.box),
        keypoints=mean(a.keypoints, b.keypoints),
        landmarks=mean(a.landmarks, b.landmarks),
    )

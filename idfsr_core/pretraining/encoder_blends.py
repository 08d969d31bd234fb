"""Faces of nobody: more inputs on which the compact encoder learns its teacher's function.

A few thousand people are few. The teacher can be asked about any picture, so it is asked about mixtures of two
people's aligned faces and about bent ones, new ones in every batch; they are no person's, and serve the distance to the
teacher only.
"""

from __future__ import annotations

import cv2
import numpy as np

from ..identity.network import FACE_SIZE
from .encoder_data import EncoderPhotos

BLEND_SIZE = 144
"""Side of a blend; the aligned face of 112 pixels lies in its middle."""
_MARGIN = (BLEND_SIZE - FACE_SIZE) // 2
TO_FACE = np.array([[1.0, 0, -_MARGIN], [0, 1, -_MARGIN]])
"""Blend -> aligned face, as ``EncoderPhotos.to_face`` has it."""
INNER = slice(_MARGIN, _MARGIN + FACE_SIZE)
"""The rows and the columns of a blend that are the aligned face."""


def _wide_face(photos: EncoderPhotos, index: int, mirror: bool) -> np.ndarray:
    matrix = photos.to_face[index] + np.array([[0, 0, _MARGIN], [0, 0, _MARGIN]])
    size = (BLEND_SIZE, BLEND_SIZE)
    face = cv2.warpAffine(photos.images[index], matrix, size, borderMode=cv2.BORDER_REPLICATE)
    return face[:, ::-1] if mirror else face


def _weights(rng: np.random.Generator) -> np.ndarray:
    """[S, S, 1] in 0..1: an even mixture, or a soft cut through the face at any angle."""
    if rng.random() < 0.4:
        return np.full((BLEND_SIZE, BLEND_SIZE, 1), rng.uniform(0.3, 0.7), np.float32)
    angle, offset, width = rng.uniform(0, 2 * np.pi), rng.uniform(-20, 20), rng.uniform(3, 12)
    y, x = np.ogrid[:BLEND_SIZE, :BLEND_SIZE]
    y, x = (y - (BLEND_SIZE - 1) / 2).astype(np.float32), (x - (BLEND_SIZE - 1) / 2).astype(np.float32)
    distance = x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle)) + np.float32(offset)
    return (1 / (1 + np.exp(-distance / np.float32(width))))[:, :, None]


def _bend(face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Move the features by a few pixels along a smooth random field."""
    field = rng.normal(0, rng.uniform(1, 4), (5, 5, 2)).astype(np.float32)
    field = cv2.resize(field, (BLEND_SIZE, BLEND_SIZE), interpolation=cv2.INTER_CUBIC)
    y, x = np.mgrid[:BLEND_SIZE, :BLEND_SIZE].astype(np.float32)
    return cv2.remap(face, x + field[..., 0], y + field[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def blend(photos: EncoderPhotos, rng: np.random.Generator) -> np.ndarray:
    """One face of nobody that was never seen before, [144, 144, 3] uint8.

    Args:
        photos: where its parts come from.
        rng: draws everything; equal states give equal blends.
    """
    first, second = (_wide_face(photos, int(i), rng.random() < 0.5) for i in rng.integers(len(photos), size=2))
    face = first.astype(np.float32)
    bent_only = rng.random() < 0.3
    if not bent_only:
        other = second.astype(np.float32)
        mean, spread = other.mean((0, 1)), other.std((0, 1)) + 1
        other = (other - mean) / spread * face.std((0, 1)) + face.mean((0, 1))
        weights = _weights(rng)
        face = face * weights + other * (1 - weights)
    face = np.clip(np.rint(face), 0, 255).astype(np.uint8)
    return _bend(face, rng) if bent_only or rng.random() < 0.4 else face

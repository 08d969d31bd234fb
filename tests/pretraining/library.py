"""A small library of people who do not exist: coloured blobs with a face's points, the same colours for one person."""

import cv2
import numpy as np
import torch

from idfsr_core.pretraining.data import PHOTO_SIZE, FaceLibrary
from tests.tiny import FFHQ_128, dense_template


def drawn_library(people: int = 4, photos: int = 3, lone: int = 1, seed: int = 0, times: int = 1) -> FaceLibrary:
    """``people`` with several photos each and ``lone`` with one; landmarks and embeddings included.

    ``times`` as large: the same photos with every pixel repeated.
    """
    larger = lambda points: (np.array(points) * times + (times - 1) / 2).astype(np.float32)
    rng = np.random.default_rng(seed)
    coded, identities, keypoints, landmarks, embeddings = [], [], [], [], []
    for person in range(people + lone):
        colours, vector = rng.integers(0, 255, (5, 3)), rng.normal(size=24)
        for _ in range(photos if person < people else 1):
            offset = rng.normal(0, 1.5, 2)
            points, dense = FFHQ_128 + 32 + offset, dense_template() + 32 + offset + rng.normal(0, 0.5, (68, 2))
            picture = np.full((PHOTO_SIZE, PHOTO_SIZE, 3), colours[0], np.uint8)
            cv2.ellipse(picture, (96, 104), (36, 48), 0, 0, 360, colours[1].tolist(), -1)
            for place, (x, y) in enumerate(points):
                cv2.circle(picture, (round(x), round(y)), 6, colours[2 + place // 2 % 3].tolist(), -1)
            picture = cv2.GaussianBlur(picture, (0, 0), 1).repeat(times, 0).repeat(times, 1)
            coded.append(cv2.imencode(".png", picture[:, :, ::-1])[1].tobytes())
            identities.append(person)
            keypoints.append(points)
            landmarks.append(dense)
            noisy = vector + 0.3 * rng.normal(size=24)
            embeddings.append(noisy / np.linalg.norm(noisy))
    return FaceLibrary(
        photos=coded,
        identities=np.array(identities),
        names=[f"person {n}" for n in range(people + lone)],
        keypoints=larger(keypoints),
        landmarks=larger(landmarks),
        side=PHOTO_SIZE * times,
        embeddings=np.array(embeddings, np.float32),
    )


def equal(a, b) -> bool:
    """Two batches are the same, bit for bit."""
    same = lambda one, other: torch.equal(one, other)
    return (
        same(a.target, b.target)
        and same(a.keypoints, b.keypoints)
        and all(same(getattr(a.cond, name), getattr(b.cond, name)) for name in type(a.cond).__annotations__)
    )

"""Photos of several people in one pose, blended into a photo of somebody who does not exist.

Every photo is drawn onto the mean landmarks of all. An average of many faces is soft, and glasses, hats and hair leave
ghosts in it; so each pixel weights the photos by how near they are to their median there, and each frequency band of
the average is lifted to the energy that the band has in the photos themselves. Arrays are [N, S, S, 3] float32, RGB,
0..255; landmarks [68, 2] in pixels, iBUG 300-W order. All of this is ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from ..warping import warp_reference

BANDS = (1, 2, 4, 8)  # standard deviations of the Gaussians that split the frequencies, in pixels
_OUTLIER = 18.0  # grey levels from the median at which a photo counts half
_FACE_GAIN = 2.2  # a band is lifted this much at most: in the face,
_HAIR_GAIN = 1.5  # around it, where the photos agree less


@dataclass(frozen=True, kw_only=True)
class Regions:
    """Where the face is, with the forehead, and where its hair is: [S, S] float32 in 0..1, soft."""

    face: np.ndarray
    head: np.ndarray


def blur(picture: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of [S, S] or [S, S, C]."""
    return cv2.GaussianBlur(picture, (0, 0), sigma)


def draw_on_mean_shape(photos: np.ndarray, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bring photos onto the mean of their landmarks.

    Args:
        photos: [N, S, S, 3] in 0..255.
        landmarks: [N, 68, 2].

    Returns:
        The drawn photos, and the mean landmarks [68, 2].
    """
    images = torch.from_numpy(np.ascontiguousarray(photos, np.float32)).permute(0, 3, 1, 2) / 255
    source = torch.from_numpy(np.ascontiguousarray(landmarks, np.float32))
    mean = source.mean(0, keepdim=True)
    drawn = warp_reference(images, source, mean.expand_as(source), photos.shape[1], "tps").image
    return drawn.permute(0, 2, 3, 1).numpy() * 255, mean[0].numpy()


def regions_of(landmarks: np.ndarray, size: int) -> Regions:
    """Face and head of a picture of ``size`` pixels a side."""
    height = face_height(landmarks)
    forehead = landmarks[17:27] - [0, 0.27 * height]
    hull = cv2.convexHull(np.concatenate([landmarks, forehead]).astype(np.int32))
    face = cv2.fillConvexPoly(np.zeros((size, size), np.float32), hull, 1.0)
    reach = round(0.6 * height) | 1
    head = cv2.dilate(face, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach)))
    return Regions(face=blur(face, 0.1 * height), head=blur(head, 0.12 * height))


def face_height(landmarks: np.ndarray) -> float:
    """Pixels from between the eyes to the chin."""
    return float(np.linalg.norm(landmarks[8] - landmarks[36:48].mean(0)))


def equalise(photos: np.ndarray, regions: Regions) -> np.ndarray:
    """Give all photos the median brightness, colour and contrast inside the face."""
    inside = regions.face > 0.5
    mean = np.array([photo[inside].mean(0) for photo in photos])
    spread = np.array([photo[inside].std() for photo in photos])
    ratio = np.median(spread) / np.maximum(spread, 1.0)
    return ((photos - mean[:, None, None]) * ratio[:, None, None, None] + np.median(mean, 0)).astype(np.float32)


def blend_weights(photos: np.ndarray, regions: Regions, shares: np.ndarray) -> np.ndarray:
    """How much each photo counts at each pixel, [N, S, S, 1], with sum 1.

    Args:
        photos: drawn and equalised.
        regions: outside the face the photos differ everywhere, so there the weights go half of the way to equal ones.
        shares: [N] factors of the photos, for people who are to count less.
    """
    calm = np.stack([blur(photo, 2) for photo in photos])
    distance = np.abs(calm - np.median(calm, 0)).mean(-1)
    robust = np.stack([blur(w, 1.5) ** 1.5 for w in 1 / (1 + (distance / _OUTLIER) ** 2)])
    robust *= shares[:, None, None]
    robust /= robust.sum(0)
    equal = (shares / shares.sum())[:, None, None]
    weights = robust * (0.5 + 0.5 * regions.face) + equal * (0.5 - 0.5 * regions.face)
    return (weights / weights.sum(0))[..., None].astype(np.float32)


def fuse(photos: np.ndarray, weights: np.ndarray, regions: Regions) -> np.ndarray:
    """The weighted average [S, S, 3], each band of it lifted to the energy it has in the photos."""
    limit = 1 + (_FACE_GAIN - 1) * regions.face + (_HAIR_GAIN - 1) * (regions.head - regions.face).clip(0)
    result, rest = np.zeros_like(photos[0]), photos
    for sigma in BANDS:
        low = np.stack([blur(photo, sigma) for photo in rest])
        band = rest - low
        average = (weights * band).sum(0)
        energy = blur((weights[..., 0] * np.square(band).mean(-1)).sum(0), 4 * sigma)
        own = blur(np.square(average).mean(-1), 4 * sigma)
        gain = np.sqrt(energy / (own + 1e-3)).clip(1).clip(max=limit)
        result += average * gain[..., None]
        rest = low
    return result + (weights * rest).sum(0)


def calm_background(picture: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blur what is neither head nor shoulders, and shade it: the photos' backgrounds have nothing in common."""
    size = len(picture)
    y, x = np.mgrid[:size, :size].astype(np.float32)
    height, chin = face_height(landmarks), landmarks[8, 1]
    middle, width = (landmarks[0, 0] + landmarks[16, 0]) / 2, landmarks[16, 0] - landmarks[0, 0]
    eyes = landmarks[36:48, 1].mean()
    radius = np.hypot((x - middle) / (0.85 * width), (y - eyes - 0.1 * height) / (1.35 * height))
    head = ((1.25 - radius) / 0.4).clip(0, 1)
    across = np.abs(x - middle) / (0.9 * width + 1.2 * (y - chin).clip(0))
    body = ((y - chin - 0.1 * height) / (0.16 * height)).clip(0, 1) * ((1.9 - across) / 0.4).clip(0, 1)
    keep = np.maximum(blur(head, 0.08 * height), blur(body, 0.1 * height))[..., None]
    angle = rng.uniform(0, 2 * np.pi)
    ramp = ((x - size / 2) * np.cos(angle) + (y - size / 2) * np.sin(angle)) / size
    shade = (1 + 0.35 * ramp)[..., None] * (1 + rng.uniform(-0.08, 0.08, 3)) * rng.uniform(0.9, 1.15)
    return (picture * keep + blur(picture, 12) * shade * (1 - keep)).astype(np.float32)


def relight(picture: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another light: from one side, warmer or colder, harder or softer. 0..255 in and out."""
    x = np.arange(len(picture), dtype=np.float32)
    width = landmarks[16, 0] - landmarks[0, 0]
    side = ((x - landmarks[27:36, 0].mean()) / width).clip(-1, 1)
    gain = (1 + rng.uniform(-0.2, 0.2) * side)[None, :, None] * (1 + rng.uniform(-0.04, 0.04, 3))
    return (255 * (picture * gain / 255).clip(0, 1) ** rng.uniform(0.85, 1.15)).astype(np.float32)


def blend(
    photos: np.ndarray, landmarks: np.ndarray, shares: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """One photo out of many.

    Args:
        photos: [N, S, S, 3] in 0..255, aligned crops of like pose.
        landmarks: [N, 68, 2].
        shares: [N] positive, how much each photo counts.
        rng: decides background and light.

    Returns:
        The photo, [S, S, 3] uint8, and its landmarks [68, 2].
    """
    drawn, shape = draw_on_mean_shape(photos, landmarks)
    regions = regions_of(shape, photos.shape[1])
    drawn = equalise(drawn, regions)
    picture = fuse(drawn, blend_weights(drawn, regions, shares), regions)
    picture = relight(calm_background(picture, shape, rng), shape, rng)
    return picture.round().clip(0, 255).astype(np.uint8), shape

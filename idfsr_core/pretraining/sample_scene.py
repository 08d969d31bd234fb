"""A small group picture of the sample people, painted by code: lawn, hills, sky, clothes; only the heads are portraits.

It is drawn at four times its size and averaged down, so the small faces come about as a camera makes them.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .blending import blur, face_height

SIZE = (256, 176)  # width, height of the finished picture
_FINE = 4  # it is drawn this many times larger
_GROUND = 0.44  # the horizon, as a part of the height

Picture = np.ndarray  # [H, W, 3] float32, 0..255


@dataclass(frozen=True, kw_only=True)
class Figure:
    """Somebody in the scene."""

    picture: np.ndarray  # [S, S, 3] uint8 RGB, the head upright in it
    landmarks: np.ndarray  # [68, 2] in its pixels
    keypoints: np.ndarray  # [5, 2]
    centre: tuple[float, float]  # where the middle of the eyes comes to lie, pixels of the finished picture
    face: float  # width of the face there, in pixels
    cloth: tuple[int, int, int]  # RGB


@dataclass(frozen=True, kw_only=True)
class Scene:
    """The finished picture and what is true of it."""

    picture: np.ndarray  # [240, 320, 3] uint8 RGB
    keypoints: list[np.ndarray]  # [5, 2] per figure, in pixels of the picture


def draw_scene(figures: list[Figure], seed: int = 0) -> Scene:
    """Paint the picture; figures later in the list stand in front."""
    rng = np.random.default_rng(seed)
    width, height = (side * _FINE for side in SIZE)
    canvas = _landscape(width, height, rng)
    keypoints = []
    for figure in figures:
        matrix = _placement(figure)
        canvas = _body(canvas, figure, matrix, rng)
        canvas = _head(canvas, figure, matrix)
        fine = figure.keypoints @ matrix[:, :2].T + matrix[:, 2]
        keypoints.append((fine + 0.5) / _FINE - 0.5)
    small = cv2.resize(blur(canvas, 1.5), SIZE, interpolation=cv2.INTER_AREA)
    small += rng.normal(0, 1.5, small.shape)
    return Scene(picture=small.round().clip(0, 255).astype(np.uint8), keypoints=keypoints)


def _placement(figure: Figure) -> np.ndarray:
    """Portrait -> fine canvas, [2, 3]: eyes to their place, the jaw to its width."""
    points = figure.landmarks
    scale = figure.face * _FINE / (points[16, 0] - points[0, 0])
    eyes, target = points[36:48].mean(0), (np.array(figure.centre) + 0.5) * _FINE - 0.5
    return np.array([[scale, 0, target[0] - scale * eyes[0]], [0, scale, target[1] - scale * eyes[1]]])


def _clouds(shape: tuple[int, int], sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise of mean 0 and deviation 1, [H, W]."""
    noise = blur(rng.normal(0, 1, shape).astype(np.float32), sigma)
    return (noise - noise.mean()) / noise.std()


def _over(canvas: Picture, layer: np.ndarray, alpha: np.ndarray) -> Picture:
    return canvas + (layer - canvas) * alpha[..., None]


def _landscape(width: int, height: int, rng: np.random.Generator) -> Picture:
    """Sky, a line of hills and a lawn."""
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    sky = np.array([150, 185, 220]) + (np.array([225, 230, 232]) - np.array([150, 185, 220])) * (y / _GROUND)[..., None]
    sky = sky + 9 * _clouds((height, width), 40, rng)[..., None]
    x = np.linspace(0, 1, width, dtype=np.float32)[None]
    ridge = _GROUND - 0.12 - 0.05 * np.sin(5.2 * x + 0.7) - 0.02 * np.sin(17 * x)
    hills = np.array([104, 132, 112]) + 8 * _clouds((height, width), 14, rng)[..., None]
    lawn = np.array([112, 136, 74]) * (0.75 + 0.45 * y)[..., None] + 9 * _clouds((height, width), 5, rng)[..., None]
    canvas = _over(sky.astype(np.float32), hills, ((y - ridge) * height / 3).clip(0, 1))
    lawn = _over(lawn, lawn * 0.9, (_clouds((height, width), 25, rng) > 0.4).astype(np.float32) * 0.5)
    return blur(_over(canvas, lawn, np.broadcast_to(((y - _GROUND) * height / 6).clip(0, 1), canvas.shape[:2])), 3)


def _body(canvas: Picture, figure: Figure, matrix: np.ndarray, rng: np.random.Generator) -> Picture:
    """Neck, shoulders and trunk below the head, down to the lower edge."""
    height, width = canvas.shape[:2]
    points = figure.landmarks @ matrix[:, :2].T + matrix[:, 2]
    tall, (chin_x, chin_y) = face_height(points), points[8]
    middle = 0.5 * chin_x + 0.25 * (points[0, 0] + points[16, 0])
    y, x = np.mgrid[:height, :width].astype(np.float32)
    u, v = np.abs(x - middle) / tall, (y - chin_y) / tall
    neck = ((0.36 - u) * tall / 2).clip(0, 1) * ((0.55 - v) * tall / 2).clip(0, 1) * ((v + 0.4) * tall / 2).clip(0, 1)
    canvas = _over(canvas, np.broadcast_to(0.72 * _skin(figure), canvas.shape), blur(neck, 2))
    shoulder = 0.24 + 0.36 * (u - 0.36).clip(0) + 4.0 * (u - 1.35).clip(0) ** 2
    side = 1.75 + 0.10 * ((v - 3.0) / 2.0).clip(-1, 1)
    trunk = ((v - shoulder) * tall / 3).clip(0, 1) * ((side - u) * tall / 4).clip(0, 1)
    folds = cv2.GaussianBlur(rng.normal(0, 1, (height, width)).astype(np.float32), (0, 0), 6, sigmaY=16)
    arm = np.exp(-(((u - 1.18 + 0.04 * v) / 0.06) ** 2)) * ((v - 1.2) / 0.8).clip(0, 1)
    collar = np.exp(-(((v - shoulder - 0.10) / 0.05) ** 2)) * (u < 0.6)
    shade = 1 - 0.30 * (u / 1.9) ** 2 + 0.06 * folds / folds.std() - 0.22 * arm - 0.25 * collar
    return _over(canvas, np.array(figure.cloth, np.float32) * shade[..., None], blur(trunk, 1.5))


def _skin(figure: Figure) -> np.ndarray:
    """Colour of the cheeks and the nose, [3] float32."""
    left, right = figure.landmarks[[2, 14], 0] * 0.7 + figure.landmarks[30, 0] * 0.3
    top, bottom = figure.landmarks[[29, 33], 1]
    patch = figure.picture[int(top) : int(bottom) + 1, int(left) : int(right) + 1]
    return np.median(patch.reshape(-1, 3), 0).astype(np.float32)


def _head(canvas: Picture, figure: Figure, matrix: np.ndarray) -> Picture:
    """The head of the portrait, cut out along a soft oval that takes in the hair and ends under the chin."""
    size = figure.picture.shape[0]
    points, tall = figure.landmarks, face_height(figure.landmarks)
    y, x = np.mgrid[:size, :size].astype(np.float32)
    wide = points[16, 0] - points[0, 0]
    middle, eyes = (points[0, 0] + points[16, 0]) / 2, points[36:48, 1].mean()
    radius = np.hypot((x - middle) / (0.68 * wide), (y - eyes) / np.where(y < eyes, 1.05 * tall, 1.2 * tall))
    alpha = blur(((1.08 - radius) / 0.16).clip(0, 1), 0.04 * tall)
    hair = eyes + 0.8 * tall
    jaw = np.interp(x[0], points[:17, 0], points[:17, 1].clip(hair), left=hair, right=hair) + 0.06 * tall
    alpha *= blur(((jaw[None] - y) / (0.08 * tall) + 0.5).clip(0, 1).astype(np.float32), 0.03 * tall)
    shape = canvas.shape[1::-1]
    layer = cv2.warpAffine(figure.picture.astype(np.float32), matrix, shape, borderMode=cv2.BORDER_REPLICATE)
    return _over(canvas, layer, cv2.warpAffine(alpha.astype(np.float32), matrix, shape))

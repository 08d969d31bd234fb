"""Training pictures for the detector: whole photos and collages at a few pixels per face, spoilt, with their faces.

A canvas is composed at its true resolution, where a face is 2 to 48 pixels tall, spoilt there, and then enlarged as
the analyzer's pyramid would enlarge it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..faces.cropping import box_from_keypoints
from ..faces.decoding import STRIDE
from ..faces.points import MIRROR_5
from .analyzer_data import FacePhotos, spoil

SMALL, LARGE = 8.0, 48.0  # heights of the faces that the network is to find, in pixels of its input
VAGUE = 1.3  # beyond the range by up to this factor a face counts neither way


@dataclass(frozen=True, kw_only=True)
class ScenePhotos:
    """Whole photos with the faces in them."""

    images: list[np.ndarray]  # [H, W, 3] uint8 RGB
    keypoints: list[np.ndarray]  # [n, 5, 2] float32 per photo
    doubtful: list[np.ndarray]  # [m, 4] boxes of what may be a further face: counts neither way


@dataclass(kw_only=True)
class Canvas:
    """A picture being composed."""

    image: np.ndarray  # [S, S, 3] uint8
    keypoints: np.ndarray  # [n, 5, 2]
    doubtful: np.ndarray  # [m, 4]


@dataclass(frozen=True, kw_only=True)
class SceneBatch:
    """What the detector learns from."""

    images: Tensor  # [B, 3, S, S], 0..1
    heat: Tensor  # [B, S/4, S/4]: 1 at the centre of a face, falling off around it
    counts: Tensor  # [B, S/4, S/4]: 0 where nobody knows whether there is a face
    cells: Tensor  # [n, 3] (picture, column, row) of the cells that must tell a face's place
    keypoints: Tensor  # [n, 5, 2] of that face, pixels
    boxes: Tensor  # [n, 4] of that face, pixels


def scene_batch(
    scenes: ScenePhotos, faces: FacePhotos, size: int, count: int, groups: int, generator: torch.Generator
) -> SceneBatch:
    """``count`` pictures of ``size`` pixels in ``groups`` of one degradation each; the generator decides everything."""
    seed = int(torch.randint(2**31, (1,), generator=generator))
    rng = np.random.default_rng(seed)
    images, found = [], []
    for _ in range(groups):
        grow = int(rng.choice([4, 2, 1], p=[0.3, 0.35, 0.35]))
        canvases = [compose(scenes, faces, size // grow, grow, rng) for _ in range(count // groups)]
        low = torch.from_numpy(np.stack([canvas.image for canvas in canvases])).permute(0, 3, 1, 2).float() / 255
        low = spoil(low, generator)
        if grow > 1:
            low = F.interpolate(low, scale_factor=float(grow), mode="bicubic", align_corners=False).clamp(0, 1)
        images.append(low)
        found += [((canvas.keypoints + 0.5) * grow - 0.5, (canvas.doubtful + 0.5) * grow - 0.5) for canvas in canvases]
    return _targets(torch.cat(images), found)


def compose(scenes: ScenePhotos, faces: FacePhotos, size: int, grow: int, rng: np.random.Generator) -> Canvas:
    """One canvas of ``size`` pixels whose faces are to be enlarged ``grow`` times."""
    canvas = window(scenes, size, grow, rng)
    for _ in range(int(rng.integers(0, 3))):
        paste_nothing(canvas, scenes, rng)
    for _ in range(int(rng.choice([0, 1, 2, 3, 4], p=[0.3, 0.3, 0.2, 0.1, 0.1]))):
        paste_face(canvas, faces, _height(rng) / grow, rng)
    if rng.random() < 0.3:
        paste_nothing(canvas, scenes, rng)
    return _mirror(canvas) if rng.random() < 0.5 else canvas


def _height(rng: np.random.Generator) -> float:
    if rng.random() < 0.12:  # too large for the range: its parts must not be taken for faces
        return math.exp(rng.uniform(math.log(LARGE), math.log(220)))
    return math.exp(rng.uniform(math.log(SMALL), math.log(LARGE)))


def window(scenes: ScenePhotos, size: int, grow: int, rng: np.random.Generator) -> Canvas:
    """A part of a random photo in which one face has a random height (or any part, at any zoom)."""
    i = int(rng.integers(len(scenes.images)))
    image, keypoints = scenes.images[i], scenes.keypoints[i]
    box = _boxes(keypoints)[int(rng.integers(len(keypoints)))]
    if rng.random() < 0.65:
        zoom = min(_height(rng) / grow / (box[3] - box[1]), 1.5)
        middle = (box[:2] + box[2:]) / 2 * zoom
        corner = middle - rng.uniform(0.05, 0.95, 2) * size
    else:
        zoom = math.exp(rng.uniform(math.log(size / 500), math.log(max(size / 120, size / 400))))
        extent = np.array([image.shape[1], image.shape[0]]) * zoom
        corner = rng.uniform(0, 1, 2) * (extent - size)
    small = _resize(image, zoom)
    true = np.array([small.shape[1] / image.shape[1], small.shape[0] / image.shape[0]])
    corner = np.round(corner)
    move = lambda points: (points + 0.5) * true - 0.5 - corner
    doubtful = move(scenes.doubtful[i].reshape(-1, 2, 2)).reshape(-1, 4)
    canvas = Canvas(image=_cut(small, corner, size, rng), keypoints=move(keypoints), doubtful=doubtful)
    return _drop_outside(canvas)


def _resize(image: np.ndarray, zoom: float) -> np.ndarray:
    shape = max(1, round(image.shape[1] * zoom)), max(1, round(image.shape[0] * zoom))
    return cv2.resize(image, shape, interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC)


def _cut(image: np.ndarray, corner: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """A square out of a picture; what lies beyond is the repeated edge, or one colour."""
    x, y = int(corner[0]), int(corner[1])
    left, top = max(0, -x), max(0, -y)
    right, bottom = max(0, x + size - image.shape[1]), max(0, y + size - image.shape[0])
    if left or top or right or bottom:
        mode = cv2.BORDER_REPLICATE if rng.random() < 0.6 else cv2.BORDER_CONSTANT
        colour = [int(v) for v in rng.integers(0, 256, 3)] if rng.random() < 0.6 else [0, 0, 0]
        image = cv2.copyMakeBorder(image, top, bottom, left, right, mode, value=colour)
    return np.ascontiguousarray(image[y + top : y + top + size, x + left : x + left + size])


def _drop_outside(canvas: Canvas) -> Canvas:
    """Faces whose middle lies outside are no faces to find; those just inside the edge count neither way."""
    size = canvas.image.shape[0]
    boxes = _boxes(canvas.keypoints)
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    inside = ((middle >= 0) & (middle <= size - 1)).all(1)
    shown = np.prod(np.clip(boxes[:, 2:], 0, size) - np.clip(boxes[:, :2], 0, size), 1)
    whole = shown > 0.7 * np.prod(boxes[:, 2:] - boxes[:, :2], 1)
    canvas.doubtful = np.concatenate([canvas.doubtful, boxes[~(inside & whole)]])
    canvas.keypoints = canvas.keypoints[inside & whole]
    return canvas


def paste_face(canvas: Canvas, faces: FacePhotos, height: float, rng: np.random.Generator) -> None:
    """Put a face of ``height`` pixels somewhere, with more or less of its surroundings, in a rectangle or an oval."""
    i = int(rng.choice(faces.chosen))
    image, keypoints = np.asarray(faces.images[i]), faces.keypoints[i]
    others = np.zeros((0, 4)) if faces.doubtful is None else faces.doubtful[i]
    if rng.random() < 0.4 and not len(others):
        image, keypoints = _turn(image, keypoints, rng.normal(0, 0.2))
    box = _boxes(keypoints[None])[0]
    middle, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * rng.uniform(1.15, 2.2, 2)
    low = np.maximum(np.floor(middle - half), 0).astype(int)
    high = np.minimum(np.ceil(middle + half), image.shape[0]).astype(int)
    zoom = height / (box[3] - box[1])
    patch = _resize(image[low[1] : high[1], low[0] : high[0]], zoom)
    true = np.array(patch.shape[1::-1]) / (high - low)
    size = canvas.image.shape[0]
    points = (keypoints - low + 0.5) * true - 0.5
    centre = ((box[:2] + box[2:]) / 2 - low + 0.5) * true - 0.5
    corner = np.round(rng.uniform(0, size - 1, 2) - centre).astype(int)
    if not _free(canvas, points + corner):
        return
    if not _blend(canvas, patch, corner, rng):
        return
    canvas.keypoints = np.concatenate([canvas.keypoints, (points + corner)[None]])
    others = ((others.reshape(-1, 2, 2) - low + 0.5) * true - 0.5 + corner).reshape(-1, 4)
    canvas.doubtful = np.concatenate([canvas.doubtful, others])
    _drop_outside(canvas)


def _turn(image: np.ndarray, keypoints: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    middle = (image.shape[1] - 1) / 2, (image.shape[0] - 1) / 2
    matrix = cv2.getRotationMatrix2D(middle, math.degrees(angle), 1.0)
    turned = cv2.warpAffine(image, matrix, image.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
    return turned, keypoints @ matrix[:, :2].T + matrix[:, 2]


def _free(canvas: Canvas, keypoints: np.ndarray) -> bool:
    """Whether a new face would stay clear of those already there."""
    box = _boxes(keypoints[None])[0]
    others = np.concatenate([_boxes(canvas.keypoints), canvas.doubtful])
    grown = (box[2:] - box[:2]) * 0.3
    return not ((others[:, :2] < box[2:] + grown) & (others[:, 2:] > box[:2] - grown)).all(1).any()


def paste_nothing(canvas: Canvas, scenes: ScenePhotos, rng: np.random.Generator) -> None:
    """Put a piece of a photo without any face somewhere, so that the edge of a piece betrays no face."""
    i = int(rng.integers(len(scenes.images)))
    image = scenes.images[i]
    known = np.concatenate([_boxes(scenes.keypoints[i]), scenes.doubtful[i]])
    size = canvas.image.shape[0]
    for _ in range(6):
        span = rng.uniform(0.1, 0.5, 2) * image.shape[1::-1]
        low = np.round(rng.uniform(0, 1, 2) * (np.array(image.shape[1::-1]) - span)).astype(int)
        high = low + np.maximum(span.astype(int), 4)
        if not ((known[:, :2] < high) & (known[:, 2:] > low)).all(1).any():
            break
    else:
        return
    zoom = math.exp(rng.uniform(math.log(0.05), math.log(0.7))) * size / (high - low).max()
    patch = _resize(image[low[1] : high[1], low[0] : high[0]], zoom)
    corner = np.round(rng.uniform(0, size, 2) - np.array(patch.shape[1::-1]) / 2).astype(int)
    covered = np.concatenate([corner, corner + patch.shape[1::-1]])
    boxes = np.concatenate([_boxes(canvas.keypoints), canvas.doubtful])
    if not ((boxes[:, :2] < covered[2:]) & (boxes[:, 2:] > covered[:2])).all(1).any():
        _blend(canvas, patch, corner, rng)


def _blend(canvas: Canvas, patch: np.ndarray, corner: np.ndarray, rng: np.random.Generator) -> bool:
    """Lay a patch onto the canvas; False where it would fall outside altogether."""
    size = canvas.image.shape[0]
    low, high = np.maximum(corner, 0), np.minimum(corner + patch.shape[1::-1], size)
    if (high <= low).any():
        return False
    part = patch[low[1] - corner[1] : high[1] - corner[1], low[0] - corner[0] : high[0] - corner[0]]
    target = canvas.image[low[1] : high[1], low[0] : high[0]]
    if rng.random() < 0.4:
        target[:] = part
        return True
    alpha = _oval(patch.shape[:2], rng.uniform(0.05, 0.5))
    alpha = alpha[low[1] - corner[1] : high[1] - corner[1], low[0] - corner[0] : high[0] - corner[0], None]
    target[:] = (target + alpha * (part.astype(np.float32) - target)).round().astype(np.uint8)
    return True


def _oval(shape: tuple[int, int], soft: float) -> np.ndarray:
    """A filled ellipse that touches the sides of ``shape`` (rows, columns), 0..1, with a soft rim."""
    y, x = (np.linspace(-1, 1, n + 2, dtype=np.float32)[1:-1] for n in shape)
    return np.clip((1 - np.hypot(y[:, None], x[None])) / soft, 0, 1)


def _mirror(canvas: Canvas) -> Canvas:
    side = canvas.image.shape[1] - 1
    points = canvas.keypoints[:, MIRROR_5] * np.array([-1, 1]) + np.array([side, 0])
    doubtful = canvas.doubtful[:, [2, 1, 0, 3]] * np.array([-1, 1, -1, 1]) + np.array([side, 0, side, 0])
    return Canvas(image=np.ascontiguousarray(canvas.image[:, ::-1]), keypoints=points, doubtful=doubtful)


def _boxes(keypoints: np.ndarray) -> np.ndarray:
    return box_from_keypoints(torch.from_numpy(np.asarray(keypoints, np.float64).reshape(-1, 5, 2))).numpy()


def _targets(images: Tensor, found: list[tuple[np.ndarray, np.ndarray]]) -> SceneBatch:
    side = images.shape[-1] // STRIDE
    heat, counts = torch.zeros(len(images), side, side), torch.ones(len(images), side, side)
    cells, keypoints, boxes = [], [], []
    for b, (points, doubtful) in enumerate(found):
        for box in doubtful:
            _blank(counts[b], box)
        for face, box in zip(points, _boxes(points), strict=True):
            height = box[3] - box[1]
            if SMALL <= height <= LARGE:
                near = _stamp(heat[b], box)
                cells.append(torch.cat([torch.full((len(near), 1), b), near], 1))
                keypoints += [torch.from_numpy(face)] * len(near)
                boxes += [torch.from_numpy(box)] * len(near)
            elif SMALL / VAGUE < height < LARGE * VAGUE:
                _blank(counts[b], box)
    counts[heat > 0.99] = 1.0
    return SceneBatch(
        images=images, heat=heat, counts=counts, cells=torch.cat([*cells, torch.zeros(0, 3, dtype=torch.long)]),
        keypoints=torch.stack(keypoints).float() if keypoints else torch.zeros(0, 5, 2),
        boxes=torch.stack(boxes).float() if boxes else torch.zeros(0, 4),
    )  # fmt: skip


def _blank(counts: Tensor, box: np.ndarray) -> None:
    x0, y0, x1, y1 = np.round(box / STRIDE).astype(int).tolist()
    counts[max(0, y0) : max(0, y1 + 1), max(0, x0) : max(0, x1 + 1)] = 0.0


def _stamp(heat: Tensor, box: np.ndarray) -> Tensor:
    """Add a face's bell to the heat; returns the cells [k, 2] (column, row) near its top."""
    side = heat.shape[-1]
    middle = torch.from_numpy((box[:2] + box[2:]) / 2 - (STRIDE - 1) / 2).float() / STRIDE
    sigma = max(0.7, 0.09 * (box[3] - box[1]) / STRIDE * 2)
    ticks = torch.arange(side, dtype=torch.float32)
    nearest = middle.round().clamp(0, side - 1)
    bell = torch.exp(-((ticks[None] - nearest[0]) ** 2 + (ticks[:, None] - nearest[1]) ** 2) / (2 * sigma**2))
    torch.maximum(heat, bell, out=heat)
    rows, columns = torch.nonzero(bell > 0.55, as_tuple=True)
    return torch.stack([columns, rows], 1)

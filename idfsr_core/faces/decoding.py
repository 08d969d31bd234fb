"""From the detector's maps to faces in picture coordinates: cells, pyramid levels, suppression of doubles."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

STRIDE = 4  # pixels of a level per cell
OFFSET_UNIT = 8.0  # pixels of a level per unit of the box centre's offset
SIZE_UNIT = 16.0  # box sides are exp(output) times this
POINT_UNIT = 16.0  # pixels of a level per unit of a keypoint's offset
ALIGN = 16  # the network needs sides that are multiples of this
MOST = 1000  # candidates that suppression looks at, the best ones


@dataclass(frozen=True, kw_only=True)
class Level:
    """One picture of the pyramid: the photo resized to ``width`` x ``height``, with a border of ``pad`` pixels."""

    width: int
    height: int
    pad: int
    zoom: tuple[float, float]  # pixels of the level per pixel of the photo, along x and y

    def to_photo(self, points: Tensor) -> Tensor:
        """Points [..., 2] of the padded level in pixels of the photo."""
        return (points - self.pad + 0.5) / points.new_tensor(self.zoom) - 0.5

    def render(self, image: Tensor) -> Tensor:
        """The padded level [1, 3, h, w] of a photo [1, 3, H, W]: averaged down or bicubic up, edges repeated."""
        size = (self.height, self.width)
        if size[0] < image.shape[-2]:
            out = F.interpolate(image, size=size, mode="area")
        else:
            out = F.interpolate(image, size=size, mode="bicubic", align_corners=False).clamp(0, 1)
        right = -(self.width + 2 * self.pad) % ALIGN
        bottom = -(self.height + 2 * self.pad) % ALIGN
        return F.pad(out, (self.pad, self.pad + right, self.pad, self.pad + bottom), mode="replicate")


def pyramid(width: int, height: int, *, min_face: float, max_pixels: float, pad: int = 16) -> list[Level]:
    """Levels a factor of two apart, finest first.

    The finest brings a face ``min_face`` pixels tall to 12 pixels, unless that takes more than ``max_pixels``; the
    coarsest brings a face as tall as the photo below 48 pixels.
    """
    top = min(math.log2(12.0 / min_face), math.log2(max_pixels / (width * height)) / 2)
    exponent = math.floor(top * 2) / 2
    levels = []
    while True:
        zoom = 2.0**exponent
        w, h = max(1, round(width * zoom)), max(1, round(height * zoom))
        levels.append(Level(width=w, height=h, pad=pad, zoom=(w / width, h / height)))
        if max(w, h) <= 48:
            return levels
        exponent -= 1


@dataclass(frozen=True, kw_only=True)
class Found:
    """Candidates in one coordinate system."""

    scores: Tensor  # [N]
    boxes: Tensor  # [N, 4]
    keypoints: Tensor  # [N, 5, 2]

    def select(self, index: Tensor) -> Found:
        return Found(scores=self.scores[index], boxes=self.boxes[index], keypoints=self.keypoints[index])


def encode(keypoints: Tensor, boxes: Tensor, cells: Tensor) -> Tensor:
    """Regression targets [N, 14] for faces (keypoints [N, 5, 2], boxes [N, 4]) seen from ``cells`` [N, 2] (x, y)."""
    anchor = cells.to(keypoints.dtype) * STRIDE + (STRIDE - 1) / 2
    centre = ((boxes[:, :2] + boxes[:, 2:]) / 2 - anchor) / OFFSET_UNIT
    size = ((boxes[:, 2:] - boxes[:, :2]).clamp_min(1e-3) / SIZE_UNIT).log()
    points = (keypoints - anchor[:, None]) / POINT_UNIT
    return torch.cat([centre, size, points.flatten(1)], 1)


def decode(maps: Tensor, threshold: float) -> Found:
    """Peaks of the heat in maps [15, h, w] above ``threshold``, in pixels of the level; inverse of :func:`encode`."""
    heat = maps[0].float().sigmoid()
    peak = F.max_pool2d(heat[None, None], 3, 1, 1)[0, 0]
    rows, columns = torch.nonzero((heat >= threshold) & (heat == peak), as_tuple=True)
    values = maps[1:, rows, columns].float().T
    anchor = torch.stack([columns, rows], 1).to(values.dtype) * STRIDE + (STRIDE - 1) / 2
    centre = anchor + values[:, :2] * OFFSET_UNIT
    half = values[:, 2:4].clamp(-4, 6).exp() * SIZE_UNIT / 2
    points = anchor[:, None] + values[:, 4:].reshape(-1, 5, 2) * POINT_UNIT
    return Found(scores=heat[rows, columns], boxes=torch.cat([centre - half, centre + half], 1), keypoints=points)


def to_photo(found: Found, level: Level) -> Found:
    """Candidates of one level in pixels of the photo."""
    boxes = level.to_photo(found.boxes.view(-1, 2, 2)).flatten(1)
    return Found(scores=found.scores, boxes=boxes, keypoints=level.to_photo(found.keypoints))


def overlap(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union [N, M] of boxes [N, 4] and [M, 4]."""
    low = torch.maximum(first[:, None, :2], second[None, :, :2])
    high = torch.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = (high - low).clamp_min(0).prod(-1)
    area = lambda boxes: (boxes[:, 2:] - boxes[:, :2]).clamp_min(0).prod(-1)
    return shared / (area(first)[:, None] + area(second)[None] - shared).clamp_min(1e-9)


def suppress(found: Found, limit: float = 0.35, inside: float = 0.75) -> Found:
    """Non-maximum suppression, best first.

    A candidate goes when a better one overlaps it by more than ``limit`` (intersection over union), or when more than
    ``inside`` of the smaller of the two lies in the other: levels of the pyramid see parts of a face as faces.
    """
    order = found.scores.argsort(descending=True, stable=True)[:MOST]
    found = found.select(order)
    clash = (overlap(found.boxes, found.boxes) > limit) | (_covered(found.boxes) > inside)
    clash = clash.cpu().numpy()
    alive = np.ones(len(clash), bool)
    kept: list[int] = []
    for i in range(len(clash)):
        if alive[i]:
            kept.append(i)
            alive &= ~clash[i]
    return found.select(torch.tensor(kept, dtype=torch.long, device=found.scores.device))


def merge(parts: list[Found]) -> Found:
    """Candidates of several looks at one picture, the most trusted look first; a later one only adds faces."""
    kept = suppress(parts[0])
    for part in parts[1:]:
        part = suppress(part)
        if len(kept.scores) and len(part.scores):
            part = part.select(torch.nonzero(overlap(part.boxes, kept.boxes).amax(1) < 0.2)[:, 0])
        kept = join([kept, part])
    return kept.select(kept.scores.argsort(descending=True, stable=True))


def _covered(boxes: Tensor) -> Tensor:
    """Shared area over the smaller box's area [N, N]."""
    low = torch.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    area = (boxes[:, 2:] - boxes[:, :2]).clamp_min(0).prod(-1)
    return (high - low).clamp_min(0).prod(-1) / torch.minimum(area[:, None], area[None]).clamp_min(1e-9)


def join(parts: list[Found]) -> Found:
    """All candidates of several levels."""
    return Found(
        scores=torch.cat([part.scores for part in parts]),
        boxes=torch.cat([part.boxes for part in parts]),
        keypoints=torch.cat([part.keypoints for part in parts]),
    )

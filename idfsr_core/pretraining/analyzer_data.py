"""Training pictures for the landmark network: faces turned, shrunk to a few pixels and spoilt, with their points."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..faces.cropping import box_from_keypoints, crop_from_box, crop_from_keypoints, face_unit, sample_crops, to_crop
from ..faces.points import KEYPOINTS, MIRROR_5, MIRROR_68


class Pixels(Protocol):
    """Photos by number [S, S, 3] or by numbers [n, S, S, 3], uint8 RGB: an array, or decoded on demand."""

    def __getitem__(self, index: int | np.ndarray, /) -> np.ndarray: ...


@dataclass(frozen=True, kw_only=True)
class FacePhotos:
    """Aligned photos with their points."""

    images: Pixels  # N photos, S pixels a side
    keypoints: np.ndarray  # [N, 5, 2] float32, pixels
    landmarks: np.ndarray  # [N, 68, 2] float32, pixels
    chosen: np.ndarray  # [M] indices of the photos to use
    doubtful: list[np.ndarray] | None = None  # [m, 4] boxes per photo of what may be further faces in its margin

    def points(self, index: np.ndarray) -> np.ndarray:
        """Both sets together: [n, 73, 2]."""
        return np.concatenate([self.keypoints[index], self.landmarks[index]], 1)


@dataclass(frozen=True, kw_only=True)
class LandmarkBatch:
    """What the landmark network learns from."""

    crops: Tensor  # [B, 3, S, S], 0..1
    points: Tensor  # [B, 73, 2], fractions of the crop from its centre
    unit: Tensor  # [B] the face's unit (see cropping) over the crop's side: errors are counted in it
    mirrored: Tensor  # [B] bool: five keypoints of a mirrored photo keep the detector's leaning, so they do not count
    height: Tensor  # [B] height of the face in the pixels of the spoilt picture


Group = Callable[[FacePhotos, int, int, torch.Generator], LandmarkBatch]
"""Draws faces of one degradation: photos, side of the crops, count and generator -> crops with their points."""


def landmark_batch(
    photos: FacePhotos, size: int, count: int, groups: int, generator: torch.Generator, group: Group | None = None
) -> LandmarkBatch:
    """``count`` crops of ``size`` pixels in ``groups`` of one degradation each; the generator decides everything.

    ``group`` draws one of them; None: faces inside a rough crop, as a detector lays it.
    """
    group = group or _group
    parts = [group(photos, size, count // groups, generator) for _ in range(groups)]
    joined = {name: torch.cat([getattr(part, name) for part in parts]) for name in LandmarkBatch.__annotations__}
    return LandmarkBatch(**joined)


def draw(photos: FacePhotos, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """``count`` photos [B, 3, S, S] with their points [B, 73, 2], half of them mirrored, and which [B]."""
    pick = photos.chosen[torch.randint(len(photos.chosen), (count,), generator=generator).numpy()]
    images = torch.from_numpy(np.ascontiguousarray(photos.images[pick])).permute(0, 3, 1, 2).float() / 255
    return mirror(images, torch.from_numpy(photos.points(pick)).float(), generator)


def _group(photos: FacePhotos, size: int, count: int, generator: torch.Generator) -> LandmarkBatch:
    images, points, mirrored = draw(photos, count, generator)
    side = images.shape[-1]
    height = log_uniform(2.5, 90.0, generator)  # of the face, in pixels of the picture to be
    face = BOX_TO_UNIT * face_unit(points[:, :KEYPOINTS]).mean().item()
    small = int(min(max(round(side * height / face), 6), 192))
    low, points = shrink(images, points, small, generator)
    low = spoil(low, generator)
    crop = _rough_crop(points[:, :KEYPOINTS], generator)
    unit = face_unit(points[:, :KEYPOINTS])
    return LandmarkBatch(
        crops=sample_crops(low, crop, size), points=to_crop(points, crop), unit=unit / crop[:, 2], mirrored=mirrored,
        height=unit * BOX_TO_UNIT,
    )  # fmt: skip


BOX_TO_UNIT = 2.85  # height of a face box over the face's unit


def mirror(images: Tensor, points: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Mirror half of the pictures [B, 3, H, W] with their points [B, 73, 2]; says which."""
    chosen = torch.rand(len(images), generator=generator) < 0.5
    order = torch.from_numpy(np.concatenate([MIRROR_5, MIRROR_68 + KEYPOINTS]))
    turned = points[:, order] * points.new_tensor([-1, 1]) + points.new_tensor([images.shape[-1] - 1, 0])
    images = torch.where(chosen[:, None, None, None], images.flip(-1), images)
    return images, torch.where(chosen[:, None, None], turned, points), chosen


def shrink(images: Tensor, points: Tensor, small: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Turn, zoom and shift each picture a little, then bring it to ``small`` pixels a side by averaging."""
    count, side = len(images), images.shape[-1]
    angle = normal(count, 0.22, generator) + torch.where(
        torch.rand(count, generator=generator) < 0.15, uniform(count, -0.8, 0.8, generator), torch.zeros(count)
    )
    zoom = torch.exp(normal(count, 0.10, generator))
    middle = torch.full((count, 2), (side - 1) / 2) + normal((count, 2), 0.03 * side, generator)
    crop = torch.cat([middle, (side * zoom)[:, None], angle.cos()[:, None], angle.sin()[:, None]], 1)
    fine = small * max(1, round(112 / small))
    large = sample_crops(images, crop, fine, "bilinear")
    low = F.interpolate(large, size=(small, small), mode="area") if fine > small else large
    return low, (to_crop(points, crop) + 0.5) * small - 0.5


def spoil(images: Tensor, generator: torch.Generator) -> Tensor:
    """Blur, light, noise and JPEG, of one random strength for the whole group [B, 3, H, W]."""
    coin = torch.rand(6, generator=generator).tolist()
    if coin[0] < 0.4:
        images = blur(images, log_uniform(0.3, 1.6, generator))
    images = relight(images, generator)
    if coin[1] < 0.5:
        strength = log_uniform(0.004, 0.06, generator)
        images = images + strength * torch.randn(images.shape, generator=generator)
    images = images.clamp(0, 1)
    return jpeg(images, int(uniform(1, 30, 96, generator))) if coin[2] < 0.6 else images


def blur(images: Tensor, sigma: float) -> Tensor:
    """Gaussian blur with ``sigma`` pixels, edges repeated."""
    radius = max(1, math.ceil(2.5 * sigma))
    ticks = torch.arange(-radius, radius + 1, dtype=images.dtype)
    kernel = torch.exp(-(ticks**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).repeat(3, 1, 1, 1)
    images = F.conv2d(F.pad(images, (radius, radius, 0, 0), mode="replicate"), kernel, groups=3)
    return F.conv2d(F.pad(images, (0, 0, radius, radius), mode="replicate"), kernel.transpose(2, 3), groups=3)


def relight(images: Tensor, generator: torch.Generator) -> Tensor:
    count = len(images)
    gain = torch.exp(normal((count, 3, 1, 1), 0.08, generator) + normal((count, 1, 1, 1), 0.2, generator))
    shift = normal((count, 1, 1, 1), 0.06, generator)
    gamma = torch.exp(normal((count, 1, 1, 1), 0.2, generator))
    grey = (torch.rand(count, 1, 1, 1, generator=generator) < 0.1).float()
    images = images + grey * (images.mean(1, keepdim=True) - images)
    return ((images.clamp(1e-4, 1) ** gamma - 0.5) * gain + 0.5 + shift).clamp(0, 1)


def jpeg(images: Tensor, quality: int) -> Tensor:
    """Each picture [B, 3, H, W] written as a JPEG and read again."""
    arrays = (images.permute(0, 2, 3, 1).numpy()[..., ::-1] * 255).round().astype(np.uint8)
    out = np.empty_like(arrays)
    for i, array in enumerate(arrays):
        _, code = cv2.imencode(".jpg", np.ascontiguousarray(array), [cv2.IMWRITE_JPEG_QUALITY, quality])
        out[i] = cv2.imdecode(code, cv2.IMREAD_COLOR)
    return torch.from_numpy(np.ascontiguousarray(out[..., ::-1])).permute(0, 3, 1, 2).float() / 255


def _rough_crop(keypoints: Tensor, generator: torch.Generator) -> Tensor:
    """Half the crops as a detector's box would place them, half as a first estimate of the points would."""
    count = len(keypoints)
    box = box_from_keypoints(keypoints)
    span = (box[:, 2:] - box[:, :2]).amax(1, keepdim=True)
    loose = crop_from_box(box)
    tight = crop_from_keypoints(keypoints)
    second = torch.rand(count, 1, generator=generator) < 0.5
    shift = normal((count, 2), 1.0, generator) * torch.where(second, 0.03, 0.09) * span
    zoom = torch.exp(normal((count, 1), 1.0, generator) * torch.where(second, 0.04, 0.13))
    tip = normal(count, 0.06, generator)
    direction = torch.stack(
        [tight[:, 3] * tip.cos() - tight[:, 4] * tip.sin(), tight[:, 3] * tip.sin() + tight[:, 4] * tip.cos()], 1
    )
    place = torch.where(second, tight[:, :3], loose[:, :3])
    return torch.cat([place[:, :2] + shift, place[:, 2:3] * zoom, torch.where(second, direction, loose[:, 3:])], 1)


def uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=generator)


def normal(shape: int | tuple[int, ...], sigma: float, generator: torch.Generator) -> Tensor:
    return sigma * torch.randn(shape if isinstance(shape, tuple) else (shape,), generator=generator)


def log_uniform(low: float, high: float, generator: torch.Generator) -> float:
    return math.exp(uniform(1, math.log(low), math.log(high), generator).item())

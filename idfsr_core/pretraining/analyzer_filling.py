"""Training pictures for the network of tiny pictures: a face cut out as people cut faces out, and made small."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..faces.cropping import face_unit, sample_crops, to_crop
from ..faces.points import KEYPOINTS
from .analyzer_data import BOX_TO_UNIT, FacePhotos, LandmarkBatch, draw, jpeg, log_uniform, normal, relight, uniform

SIDES = (3.0, 17.0)  # pixels of the tiny picture, drawn evenly on a log scale
CUTS = (0.48, 1.0)  # its side over that of the archive's photo: the face is 0.97 to 0.47 of it tall
OFF = 0.13  # largest standard deviation of its middle, in widths of the face; some cut carefully and some do not
FINE = 48  # pixels a side, about, of the cut before it is made small
_FACE_WIDTH = 0.36  # of the archive's photo


def filling_group(photos: FacePhotos, size: int, count: int, generator: torch.Generator) -> LandmarkBatch:
    """``count`` tiny pictures of one size and one degradation, enlarged to ``size`` pixels."""
    images, points, mirrored = draw(photos, count, generator)
    crop = _cuts(count, images.shape[-1], generator)
    tiny = round(log_uniform(*SIDES, generator))
    fine = sample_crops(images, crop, tiny * max(2, round(FINE / tiny)), "bilinear")
    seen = _spoilt(_shrunk(fine, tiny, generator), generator)
    whole = seen.new_tensor([(tiny - 1) / 2, (tiny - 1) / 2, tiny, 1, 0]).expand(count, -1)
    inside = to_crop(points, crop)
    unit = face_unit(inside[:, :KEYPOINTS])
    return LandmarkBatch(
        crops=sample_crops(seen, whole, size), points=inside, unit=unit, mirrored=mirrored,
        height=unit * BOX_TO_UNIT * tiny,
    )  # fmt: skip


def _cuts(count: int, side: int, generator: torch.Generator) -> Tensor:
    """Crops [B, 5] of photos of ``side`` pixels: wide to tight, each off the middle and turned by as much as it is."""
    care = uniform(count, 0, OFF, generator)
    middle = (side - 1) / 2 + normal((count, 2), 1.0, generator) * care[:, None] * _FACE_WIDTH * side
    angle = normal(count, 1.0, generator) * (0.02 + care)
    low, high = np.log(CUTS)
    size = uniform(count, low, high, generator).exp() * side
    return torch.cat([middle, size[:, None], angle.cos()[:, None], angle.sin()[:, None]], 1)


def _shrunk(fine: Tensor, tiny: int, generator: torch.Generator) -> Tensor:
    """Mostly by averaging; some pictures were out of focus, some made small by a filter."""
    kind = torch.rand(1, generator=generator).item()
    if kind < 0.15:
        fine = F.avg_pool2d(F.pad(fine, [2] * 4, mode="replicate"), 5, 1)
    if kind < 0.7:
        return F.adaptive_avg_pool2d(fine, tiny)
    mode = "bicubic" if kind < 0.9 else "bilinear"
    return F.interpolate(fine, (tiny, tiny), mode=mode, antialias=True).clamp(0, 1)


def _spoilt(images: Tensor, generator: torch.Generator) -> Tensor:
    """Light, a little noise, and JPEG in a quarter; a picture of a few pixels bears less than a larger one."""
    images = relight(images, generator)
    images = images + 0.02 * uniform(1, 0, 1, generator) * torch.randn(images.shape, generator=generator)
    images = (images.clamp(0, 1) * 255).round() / 255
    strong = torch.rand(1, generator=generator).item() < 0.25
    return jpeg(images, int(uniform(1, 60, 96, generator))) if strong else images

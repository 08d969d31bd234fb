"""Square crops around faces for the landmark network, and the way back to the picture.

A crop is five numbers: centre x, centre y, side (all in pixels of the picture) and the direction (cosine, sine) of the
face's own horizontal. Points inside it are fractions of its side, counted from its centre.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

FIELD = 1.6  # side of the crop over the larger side of the face box

# The box a detector draws around five keypoints, in units of u, the larger of eye distance and eye-to-mouth distance:
# medians of SCRFD boxes on 755 faces (spread: 7 % of the height, 8 % of the width).
BOX_WIDTH, BOX_HEIGHT = 2.10, 2.85
BOX_RISE = 0.20  # its centre lies above the middle between eyes and mouth
BOX_TURN = 1.16  # and this much opposite to the nose when the head turns


def face_unit(keypoints: Tensor) -> Tensor:
    """The larger of eye distance and eye-to-mouth distance [B] of keypoints [B, 5, 2], kept by turning."""
    down = keypoints[:, 3:].mean(1) - keypoints[:, :2].mean(1)
    return torch.maximum((keypoints[:, 1] - keypoints[:, 0]).norm(dim=1), down.norm(dim=1))


def box_from_keypoints(keypoints: Tensor) -> Tensor:
    """Face boxes [B, 4] (x0, y0, x1, y1) of a detector's kind from five keypoints [B, 5, 2]."""
    eyes, mouth = keypoints[:, :2].mean(1), keypoints[:, 3:].mean(1)
    down = mouth - eyes
    unit = face_unit(keypoints)[:, None]
    across = torch.stack([down[:, 1], -down[:, 0]], 1) / down.norm(dim=1, keepdim=True).clamp_min(1e-6)
    middle = (eyes + mouth) / 2
    turn = ((keypoints[:, 2] - middle) * across).sum(1, keepdim=True)
    centre = middle - BOX_RISE * down - BOX_TURN * turn * across
    half = unit * unit.new_tensor([BOX_WIDTH, BOX_HEIGHT]) / 2
    return torch.cat([centre - half, centre + half], 1)


def crop_from_box(box: Tensor) -> Tensor:
    """Upright crops [B, 5] (centre x, centre y, side, cosine, sine) around boxes [B, 4]."""
    centre = (box[:, :2] + box[:, 2:]) / 2
    side = FIELD * (box[:, 2:] - box[:, :2]).amax(1, keepdim=True).clamp_min(1e-3)
    return torch.cat([centre, side, torch.ones_like(side), torch.zeros_like(side)], 1)


def crop_from_keypoints(keypoints: Tensor) -> Tensor:
    """Crops [B, 5] that turn with the face, around five keypoints [B, 5, 2].

    The face's horizontal is the mean of its eye line and of the perpendicular to its eye-to-mouth line, so that
    neither a turned nor a nodding head tips it over.
    """
    eyes, mouth = keypoints[:, :2].mean(1), keypoints[:, 3:].mean(1)
    across, down = keypoints[:, 1] - keypoints[:, 0], mouth - eyes
    direction = F.normalize(F.normalize(across, dim=1) + F.normalize(torch.stack([down[:, 1], -down[:, 0]], 1), dim=1))
    upright = direction.new_tensor([1.0, 0.0]).expand_as(direction)
    direction = torch.where(direction.norm(dim=1, keepdim=True) > 0.5, direction, upright)
    return torch.cat([crop_from_box(box_from_keypoints(keypoints))[:, :3], direction], 1)


def to_picture(points: Tensor, crop: Tensor) -> Tensor:
    """Points [B, N, 2] from fractions of their crop to pixels of the picture."""
    return _turn(points, crop[:, 3], crop[:, 4]) * crop[:, None, 2:3] + crop[:, None, :2]


def to_crop(points: Tensor, crop: Tensor) -> Tensor:
    """Points [B, N, 2] from pixels of the picture to fractions of their crop: the inverse of :func:`to_picture`."""
    return _turn((points - crop[:, None, :2]) / crop[:, None, 2:3], crop[:, 3], -crop[:, 4])


def _turn(points: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    x, y = points.unbind(-1)
    cosine, sine = cosine[:, None], sine[:, None]
    return torch.stack([x * cosine - y * sine, x * sine + y * cosine], -1)


def sample_crops(images: Tensor, crop: Tensor, size: int, mode: str = "bicubic") -> Tensor:
    """Cut crops [B, 3, size, size] from pictures [B, 3, H, W]: bicubic (or bilinear), edge pixels repeated, 0..1.

    All crops may come from one picture [1, 3, H, W], which is then not copied.
    A crop that is to shrink is read from the picture averaged over 2^k pixels, with the k that leaves a factor
    nearest to one, so that nothing aliases.
    """
    out = images.new_empty(len(crop), 3, size, size)
    largest = max(0, min(images.shape[-2:]).bit_length() - 2)
    levels = (crop[:, 2] / size).clamp_min(1e-6).log2().round().clamp(0, largest).long()
    for level in levels.unique().tolist():
        chosen = levels == level
        source = images if len(images) == 1 else images[chosen]
        out[chosen] = _sample(source, crop[chosen], size, 2**level, mode)
    return out


def _sample(images: Tensor, crop: Tensor, size: int, shrink: int, mode: str) -> Tensor:
    if shrink > 1:
        images = F.avg_pool2d(images, shrink, ceil_mode=True)
    ticks = (torch.arange(size, device=crop.device, dtype=crop.dtype) + 0.5) / size - 0.5
    grid = torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), -1).reshape(1, -1, 2)
    points = to_picture(grid.expand(len(crop), -1, -1), crop) + 0.5  # from here on, pixel edges count
    extent = points.new_tensor([images.shape[-1], images.shape[-2]]) * shrink
    points = (points / extent * 2 - 1).view(len(images), -1, size, 2).to(images.dtype)  # crops of one picture: in a row
    pixels = F.grid_sample(images, points, mode, "border", align_corners=False).clamp(0, 1)
    return pixels.unflatten(2, (-1, size)).transpose(1, 2).flatten(0, 1)

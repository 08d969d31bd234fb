"""Which pixels of the low-resolution face are forgotten.

A mask is a float tensor [B, 1, S, S] in 0..1 in the pixels of the face crop: 1 where the face is rebuilt, 0 where the
picture stays as it is.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import ArgumentError

MODES = ("auto", "hard", "soft")
_DIRECTIONS = 48  # half-planes that bound the hull; the outline then exceeds it by a quarter of a percent at most
_FULL_SCALE = 8.0  # from here on the paper forgets the face entirely


def face_mask(
    landmarks: Tensor, size: int = 128, *, grow: float = 0.01, feather: float = 0.06, forehead: float = 0.3
) -> Tensor:
    """The facial region: the convex hull of the landmarks with a forehead, grown and feathered.

    Args:
        landmarks: [B, 68, 2] in the iBUG 300-W order, in crop pixels.
        size: side S of the crop.
        grow: by how much the hull is widened, as a fraction of S (negative narrows it).
        feather: width of the fall from 1 to 0, outwards from the grown hull, as a fraction of S.
        forehead: height of the forehead above the brows, as a fraction of the distance from chin to nose bridge.

    Returns:
        [B, 1, S, S] in 0..1, in the landmarks' dtype and on their device; 1 at every landmark that is inside the crop
        (where grow >= 0).
    """
    if landmarks.ndim != 3 or landmarks.shape[1:] != (68, 2):
        raise ArgumentError("landmarks", tuple(landmarks.shape), "give a [B, 68, 2] tensor in the 300-W order")
    brows = landmarks[:, 17:27]
    up = (landmarks[:, 27:28] - landmarks[:, 8:9]) * forehead
    # the hairline is an arch: over the outer ends of the brows the forehead is lower than over the nose
    arch = torch.linspace(-1, 1, 10, device=landmarks.device, dtype=landmarks.dtype)
    points = torch.cat((landmarks, brows + up * (1 - 0.45 * arch.square())[None, :, None]), 1)
    return hull_mask(points, size, grow=grow, feather=feather)


def hull_mask(points: Tensor, size: int, *, grow: float = 0.0, feather: float = 0.0) -> Tensor:
    """The convex hull of points [B, N, 2] as a mask [B, 1, S, S]; ``grow`` and ``feather`` as fractions of S.

    The hull is the intersection of half-planes in fixed directions, each pushed against the outermost point: no search
    for the outline, the same few operations for a whole batch on any device.
    """
    angle = torch.arange(_DIRECTIONS, device=points.device, dtype=points.dtype) * (2 * math.pi / _DIRECTIONS)
    normal = torch.stack((angle.cos(), angle.sin()), -1)
    reach = (points @ normal.T).amax(1) + grow * size
    axis = torch.arange(size, device=points.device, dtype=points.dtype)
    outside = points.new_full((points.shape[0], size, size), -math.inf)
    for k in range(_DIRECTIONS):
        row = axis * normal[k, 0] - reach[:, k : k + 1]
        torch.maximum(outside, row[:, None, :] + (axis * normal[k, 1])[None, :, None], out=outside)
    ramp = (1 - outside / max(feather * size, 1.0)).clamp(0, 1)
    return (ramp * ramp * (3 - 2 * ramp))[:, None]


def keypoint_mask(keypoints: Tensor, size: int = 128, *, grow: float = 0.01, feather: float = 0.06) -> Tensor:
    """A rougher facial region [B, 1, S, S] from five keypoints [B, 5, 2], for faces without dense landmarks.

    An ellipse in the axes of the face, with proportions of an average face (ours): from the middle between eyes and
    mouth, 1.05 eye-mouth distances sideways, 1.45 up and down. ``grow`` and ``feather`` as in :func:`face_mask`.
    """
    if keypoints.ndim != 3 or keypoints.shape[1:] != (5, 2):
        raise ArgumentError("keypoints", tuple(keypoints.shape), "give a [B, 5, 2] tensor")
    eyes, mouth = keypoints[:, :2].mean(1, keepdim=True), keypoints[:, 3:].mean(1, keepdim=True)
    down = mouth - eyes
    side = torch.stack((down[..., 1], -down[..., 0]), -1)
    angle = torch.arange(_DIRECTIONS, device=keypoints.device, dtype=keypoints.dtype) * (2 * math.pi / _DIRECTIONS)
    outline = (eyes + mouth) / 2 + 1.05 * angle.cos()[:, None] * side + 1.45 * angle.sin()[:, None] * down
    return hull_mask(outline, size, grow=grow, feather=feather)


def user_mask(mask: Tensor, size: int = 128, *, grow: float = 0.0, feather: float = 0.0) -> Tensor:
    """A mask that the user drew over the crop, at any size [B, 1, h, w] in 0..1 -> [B, 1, S, S].

    ``grow`` and ``feather`` as in :func:`face_mask`: the mask is dilated by both, then blurred by the feather.
    """
    if mask.ndim != 4 or mask.shape[1] != 1 or not bool(mask.isfinite().all()):
        raise ArgumentError("mask", tuple(mask.shape), "give a finite [B, 1, h, w] tensor in 0..1")
    if not mask.is_floating_point():
        raise ArgumentError("mask", mask.dtype, "give floats in 0..1")
    mask = F.interpolate(mask, (size, size), mode="bilinear", align_corners=False, antialias=True).clamp(0, 1)
    wide, soft = round(grow * size), round(feather * size / 2)
    reach = wide + soft
    if reach > 0:
        mask = F.max_pool2d(mask, 2 * reach + 1, 1, reach)
    elif reach < 0:
        mask = -F.max_pool2d(-mask, 1 - 2 * reach, 1, -reach)
    if soft > 0:
        mask = F.avg_pool2d(F.pad(mask, (soft,) * 4, mode="replicate"), 2 * soft + 1, 1)
    return mask.clamp(0, 1)


def mask_strength(scale: Tensor | float) -> Tensor:
    """How much of the face is forgotten at a scale, 0..1: ``clamp(log2(scale) / log2(8), 0, 1)``.

    The formula is ours. At 1x nothing is missing and nothing is forgotten; every halving of the resolution takes away
    the same share; from 8x on, where the paper works, the pixels carry false identity and all of them go.
    """
    scale = torch.as_tensor(scale, dtype=torch.float32)
    if not bool((scale > 0).all()):
        raise ArgumentError("scale", scale.tolist(), "give crop size over low-resolution size, above 0")
    return (scale.log2() / math.log2(_FULL_SCALE)).clamp(0, 1)


def soft_mask(mask: Tensor, scale: Tensor | float, mode: str = "auto") -> Tensor:
    """Let the low-resolution pixels fade in as the scale gets milder.

    Args:
        mask: [B, 1, S, S] in 0..1.
        scale: crop size over low-resolution size, a number or [B].
        mode: "hard" keeps the mask (the paper); "soft" multiplies it by :func:`mask_strength`; "auto" is hard from 8x
            on and soft below, which "soft" comes to as well: it names the default.
    """
    if mode not in MODES:
        raise ArgumentError("mask mode", mode, f"use one of {', '.join(MODES)}")
    if mode == "hard":
        return mask
    return mask * mask_strength(scale).to(mask).view(-1, 1, 1, 1)

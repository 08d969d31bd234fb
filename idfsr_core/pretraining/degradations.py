"""How a good face becomes an LR face: clean 8x, 16x, 32x, and the blind formula of real pictures."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..diffusion.conditioning import downsample
from ..errors import ArgumentError

KINDS = ("area", "bicubic", "blind")


def degrade(image: Tensor, scale: float, kind: str = "area", generator: torch.Generator | None = None) -> Tensor:
    """Make LR faces.

    Args:
        image: [B, 3, S, S], 0..1.
        scale: S over the side of the result, at least 1.
        kind: "area" (average of the covered pixels), "bicubic" (anti-aliased) or "blind": a Gaussian blur of up to a
            third of an LR pixel, "area" or "bicubic", noise of up to 8/255, JPEG of quality 40 to 95. The blind formula
            is that of blind face restoration (GFPGAN, arXiv 2101.04061, eq. 1); the ranges are ours.
        generator: of the random draws of "blind"; None takes torch's own.

    Returns:
        [B, 3, h, h], h = round(S / scale), 0..1.
    """
    side = round(image.shape[-1] / scale)
    if scale < 1 or side < 1:
        raise ArgumentError("scale", scale, f"use a value from 1 to {image.shape[-1]}")
    if kind == "area":
        return downsample(image, side)
    if kind == "bicubic":
        return _bicubic(image, side)
    if kind != "blind":
        raise ArgumentError("kind", kind, f"use one of {', '.join(KINDS)}")
    return torch.cat([_blind(face[None], side, generator) for face in image])


def _bicubic(image: Tensor, side: int) -> Tensor:
    return F.interpolate(image, size=(side, side), mode="bicubic", antialias=True).clamp(0, 1)


def _blind(image: Tensor, side: int, generator: torch.Generator | None) -> Tensor:
    blur, noise, quality, kind = torch.rand(4, generator=generator).tolist()
    image = gaussian_blur(image, blur * image.shape[-1] / side / 3)
    small = downsample(image, side) if kind < 0.5 else _bicubic(image, side)
    drawn = torch.randn(small.shape, generator=generator).to(small.device)
    small = (small + drawn * (noise * 8 / 255)).clamp(0, 1)
    return jpeg(small, round(40 + 55 * quality))


def gaussian_blur(image: Tensor, sigma: float) -> Tensor:
    """Gaussian blur, edges repeated. [B, C, H, W]; sigma in pixels, under 0.1 does nothing."""
    if sigma < 0.1:
        return image
    radius = max(1, round(3 * sigma))
    x = torch.arange(-radius, radius + 1, device=image.device, dtype=image.dtype)
    kernel = torch.exp(-0.5 * (x / sigma) ** 2)
    kernel = (kernel / kernel.sum()).expand(image.shape[1], 1, -1)
    image = F.pad(image, (radius,) * 4, mode="replicate")
    image = F.conv2d(image, kernel[:, :, None], groups=image.shape[1])
    return F.conv2d(image, kernel[:, :, :, None], groups=image.shape[1])


def jpeg(image: Tensor, quality: int) -> Tensor:
    """Through JPEG and back. [B, 3, H, W], 0..1; quality 1..100."""
    done = []
    for face in (image * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy():
        _, coded = cv2.imencode(".jpg", face[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        decoded = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR))[:, :, ::-1]
        done.append(torch.from_numpy(np.ascontiguousarray(decoded)))
    return torch.stack(done).permute(0, 3, 1, 2).to(image.device, torch.float32) / 255

"""Colours of a restored crop brought to those of the picture it is pasted into.

The denoiser's own result agrees with the picture's pixels already. A crop that went through other nodes since (an
upscaler, an img2img pass) has often drifted in colour; this takes the drift back.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .diffusion.conditioning import downsample
from .errors import ArgumentError
from .options import COLOUR_METHODS as METHODS

LEAST_GAIN, MOST_GAIN = 0.5, 2.0  # of the spread of a channel; beyond these the two pictures do not show the same
_LAB_SIDE = 8  # pixels a side from which on a face has enough of them for a spread


def match_colour(
    crop: Tensor, before: Tensor, method: str = "lab", *, scale: float = 1.0, mask: Tensor | None = None
) -> Tensor:
    """Give a crop the colours of the same field as it was before.

    Args:
        crop: [1, 3, S, S], 0..1.
        before: [1, 3, S, S], 0..1, the picture's own content there.
        method: "none" gives the crop back; "lab" brings mean and spread of lightness and colour to those of ``before``,
            over the whole face at once; "wavelet" takes everything that is coarser than a real pixel from ``before``,
            place by place.
        scale: pixels of the crop per real pixel of ``before``, which knows nothing finer.
        mask: [1, 1, S, S] in 0..1, where "lab" looks; None: everywhere.

    Returns:
        [1, 3, S, S], 0..1.

    Raises:
        ArgumentError: an unknown method, or shapes that differ.
    """
    if method not in METHODS:
        raise ArgumentError("colour match", method, f"use one of {', '.join(METHODS)}")
    if crop.shape != before.shape or crop.ndim != 4 or crop.shape[0] != 1 or crop.shape[-1] != crop.shape[-2]:
        raise ArgumentError("colour match", f"{tuple(crop.shape)} and {tuple(before.shape)}", "give two [1, 3, S, S]")
    if method == "none":
        return crop
    match = _lab(crop, before, scale, mask) if method == "lab" else _wavelet(crop, before, scale)
    return match.clamp(0, 1).to(crop)


# --- mean and spread --------------------------------------------------------------------------------------------------


def _lab(crop: Tensor, before: Tensor, scale: float, mask: Tensor | None) -> Tensor:
    """Mean and standard deviation of each channel of CIE L*a*b* (Reinhard et al. 2001, in another colour space).

    Both are taken at the resolution that ``before`` has: detail that only the crop shows is not to be flattened.
    """
    side = min(crop.shape[-1], max(_LAB_SIDE, round(crop.shape[-1] / max(scale, 1))))
    weight = np.ones((side, side)) if mask is None else downsample(mask.float(), side)[0, 0].cpu().double().numpy()
    if weight.sum() <= 1e-6:
        return crop
    mean, spread = _statistics(to_lab(downsample(crop.float(), side)), weight)
    target_mean, target_spread = _statistics(to_lab(downsample(before.float(), side)), weight)
    gain = (target_spread / np.maximum(spread, 1e-3)).clip(LEAST_GAIN, MOST_GAIN)
    lab = (to_lab(crop) - mean) * gain + target_mean
    return from_lab(lab.astype(np.float32))


def _statistics(lab: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean and standard deviation of the channels, [3] each."""
    share = (weight / weight.sum())[..., None]
    mean = (lab * share).sum((0, 1))
    return mean, np.sqrt(((lab - mean) ** 2 * share).sum((0, 1)))


def to_lab(image: Tensor) -> np.ndarray:
    """[1, 3, H, W] sRGB in 0..1 -> CIE L*a*b* [H, W, 3] float32 (D65; L 0..100, a and b about -100..100)."""
    pixels = image[0].detach().float().clamp(0, 1).permute(1, 2, 0).cpu().contiguous().numpy()
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB))


def from_lab(lab: np.ndarray) -> Tensor:
    """The reverse of :func:`to_lab`: [1, 3, H, W] on the CPU, clipped to 0..1."""
    return torch.from_numpy(np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB))).permute(2, 0, 1)[None].clamp(0, 1)


# --- coarse and fine --------------------------------------------------------------------------------------------------


def _wavelet(crop: Tensor, before: Tensor, scale: float) -> Tensor:
    """The fine bands of the crop on the coarse band of ``before`` (the colour fix of StableSR, arXiv 2305.07015)."""
    levels = wavelet_levels(crop.shape[-1], scale)
    return crop + coarse_band(before.to(crop) - crop, levels)


def wavelet_levels(side: int, scale: float) -> int:
    """How many levels of the transform reach as far as a real pixel, and a fortieth of the side at least."""
    reach = max(scale, side / 40)  # pixels: the deviation that the cascade must have, see coarse_band
    return max(1, round(math.log(1 + 6 * reach**2, 4)))


def coarse_band(image: Tensor, levels: int) -> Tensor:
    """The coarsest band of an undecimated wavelet transform: [1 2 1]/4 along both axes, its holes doubling each level.

    As a blur it has a deviation of ``sqrt((4^levels - 1) / 6)`` pixels. [B, C, H, W] -> the same.
    """
    for level in range(levels):
        image = _smooth(_smooth(image, 2**level).mT, 2**level).mT
    return image


def _smooth(image: Tensor, step: int) -> Tensor:
    """[1 2 1]/4 along the rows, the neighbours ``step`` pixels away; the border is repeated."""
    wide = F.pad(image, (step, step, 0, 0), mode="replicate")
    return image / 2 + (wide[..., : -2 * step] + wide[..., 2 * step :]) / 4

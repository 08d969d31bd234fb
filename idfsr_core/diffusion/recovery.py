"""The LR pixels of a face, back from their bicubic enlargement: what a crop that went through a graph still holds."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import ArgumentError

_TURNS = 100  # at most, of the search behind clipped pixels
_CLOSE = 1e-5  # change per turn at which it ends


def lr_from_crop(crop: Tensor, lr_size: int) -> Tensor:
    """The LR face whose bicubic enlargement lies closest to the crop (least squares).

    The enlargement E of :func:`~idfsr_core.diffusion.conditioning.upsample` is linear along each axis and its smallest
    singular value is at least a fifth of its largest, so ``E+ crop E+^T`` gives back what was enlarged. An enlargement
    is clipped to 0..1, which is not linear: where the crop is at a limit, it only says that E went at least so far, and
    those pixels are put in by their own estimate until that no longer changes.

    Args:
        crop: [B, C, S, S], 0..1.
        lr_size: side h of the LR face, 1 to S.

    Returns:
        [B, C, h, h] in 0..1, in the crop's dtype; where the crop is ``upsample(lr, S).clamp(0, 1)``, it is ``lr``.

    Raises:
        ArgumentError: the crop is not square or smaller than ``lr_size``.
    """
    size = crop.shape[-1]
    if crop.ndim != 4 or crop.shape[-2] != size or not 1 <= lr_size <= size:
        raise ArgumentError("crop", f"{tuple(crop.shape)} for {lr_size} px", "give [B, C, S, S] and 1 to S pixels")
    if lr_size == size:
        return crop.clamp(0, 1)
    enlarge = _enlargement(lr_size, size).to(crop.device, torch.float32)
    back = torch.linalg.pinv(_enlargement(lr_size, size)).to(crop.device, torch.float32)
    given = crop.float().clamp(0, 1)
    dark, bright = given <= 0, given >= 1
    found = back @ given @ back.T
    for _ in range(_TURNS if bool((dark | bright).any()) else 0):
        shown = enlarge @ found @ enlarge.T
        wanted = torch.where(dark, shown.clamp_max(0), torch.where(bright, shown.clamp_min(1), given))
        before, found = found, (back @ wanted @ back.T).clamp(0, 1)
        if float((found - before).abs().max()) < _CLOSE:
            break
    return found.clamp(0, 1).to(crop.dtype)


@lru_cache(maxsize=64)
def _enlargement(lr_size: int, size: int) -> Tensor:
    """The bicubic enlargement of a row of pixels as a matrix [size, lr_size], float64 on the CPU."""
    with torch.inference_mode(False):  # a cached inference tensor could not be used where gradients are wanted
        rows = torch.eye(lr_size, dtype=torch.float64)[None, :, None]
        return F.interpolate(rows, size=(1, size), mode="bicubic", align_corners=False)[0, :, 0].T.contiguous()

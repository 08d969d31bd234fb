"""The null-space composite: a recognisable face before anything is learned.

Downsampling A and its pseudo-inverse split a picture into the range that the LR pixels fix and a null space that they
say nothing about (DDNM, Wang et al. 2022, arXiv 2212.00490, eq. 8). The warped photo goes into the null space, inside
the mask: ``lr_up + mask * coverage * (w - up(down(w)))``.
"""

from __future__ import annotations

from torch import Tensor

from .conditioning import Conditioning, downsample, upsample


def high_band(photo: Tensor, lr_size: int) -> Tensor:
    """What an LR picture of ``lr_size`` pixels cannot show of a photo. [B, C, S, S] -> the same, about -1..1."""
    return photo - upsample(downsample(photo, lr_size), photo.shape[-1])


def lay_on(lr: Tensor, mask: Tensor, photo: Tensor, coverage: Tensor) -> Tensor:
    """LR colours with a warped photo's detail inside the mask.

    [B, 3, h, h], [B, 1, S, S], [B, 3, S, S], [B, 1, S, S] -> [B, 3, S, S], all in 0..1.
    """
    detail = high_band(photo, lr.shape[-1]) * coverage * mask
    return (upsample(lr, photo.shape[-1]).clamp(0, 1) + detail).clamp(0, 1)


def composite(cond: Conditioning) -> Tensor:
    """The LR face with the style photo's detail. -> [B, 3, S, S], 0..1."""
    return lay_on(cond.lr, cond.mask, cond.style, cond.style_coverage)


def make_consistent(x0: Tensor, lr: Tensor, strength: float) -> Tensor:
    """Pull an estimate back to the LR pixels: ``x0 + strength * A+ (y - A x0)`` (DDNM, eq. 10).

    Bicubic interpolation stands for the pseudo-inverse: the exact one repeats pixels and would print their grid into
    the picture. What it leaves over is removed by the next step's correction.

    Args:
        x0: [B, 3, S, S], 0..1.
        lr: [B, 3, h, h], 0..1.
        strength: 0 (off) to 1.
    """
    if strength == 0:
        return x0
    return x0 + strength * upsample(lr - downsample(x0, lr.shape[-1]), x0.shape[-1])

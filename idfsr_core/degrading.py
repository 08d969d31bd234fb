"""Good pictures made bad on purpose, to try a restoration where the truth is known."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .damage import NO_JPEG, Damage
from .errors import ArgumentError
from .images import down, up
from .pretraining.degradations import gaussian_blur, jpeg


def spoil(
    images: Tensor, damage: Damage, *, keep_size: bool = False, check: Callable[[], None] = lambda: None
) -> Tensor:
    """Damage pictures, one at a time, each with noise of its own.

    Args:
        images: [B, 3, H, W], 0..1.
        damage: see :class:`Damage`.
        keep_size: enlarge the results to H x W again, bicubic.
        check: called before each picture; may raise to stop.

    Returns:
        [B, 3, H / scale, W / scale], rounded, or [B, 3, H, W] with ``keep_size``; 0..1.

    Raises:
        ArgumentError: the picture would vanish.
    """
    height, width = images.shape[-2:]
    if min(height, width) < damage.scale:
        remedy = f"use at most {min(height, width)}"
        raise ArgumentError("scale", f"{damage.scale:g} for {width}x{height} pixels", remedy)
    generator = torch.Generator().manual_seed(damage.seed % 2**63)
    done = []
    for image in images.split(1):
        check()
        small = _spoil_one(image, damage, generator)
        done.append(up(small, (height, width)).clamp(0, 1) if keep_size else small)
    return torch.cat(done)


def _spoil_one(image: Tensor, damage: Damage, generator: torch.Generator) -> Tensor:
    small = down(gaussian_blur(image.float(), damage.blur * damage.scale), damage.scale)
    if damage.noise:
        small = small + torch.randn(small.shape, generator=generator).to(small) * (damage.noise / 255)
    small = small.clamp(0, 1)
    return small if damage.jpeg == NO_JPEG else jpeg(small, damage.jpeg)

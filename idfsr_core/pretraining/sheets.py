"""Sample sheets of a training: one row a face."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ..diffusion.composite import composite
from ..diffusion.conditioning import Conditioning
from ..images import write_image


def write_sheet(path: Path, cond: Conditioning, restored: Tensor, target: Tensor) -> None:
    """Columns: LR, mask, style photo, first reference, composite, restored, truth."""
    first = cond.references[:, 0] if cond.references.shape[1] else torch.zeros_like(cond.style)
    mask = cond.mask.expand_as(cond.style)
    columns = [cond.upsampled, mask, cond.style, first, composite(cond), restored, target]
    write_image(path, torch.cat([torch.cat(list(column), 1) for column in columns], 2)[None].clamp(0, 1))

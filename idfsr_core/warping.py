"""A reference photo brought onto the landmarks of the low-resolution face, and the choice of that photo."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import ArgumentError
from .fields import METHODS as METHODS
from .fields import thin_plate_spline_field as thin_plate_spline_field
from .fields import warp_field
from .geometry import oversampling_for, preshrink, sample, similarity_from_points


@dataclass(frozen=True, kw_only=True)
class WarpedReference:
    """A reference photo in the pixels of the low-resolution face's crop."""

    image: Tensor  # [B, 3, S, S] in 0..1
    coverage: Tensor  # [B, 1, S, S] in 0..1: 1 where the photo has real pixels, fading to 0 at its border

    def __post_init__(self) -> None:
        image, coverage = self.image.shape, self.coverage.shape
        if len(image) != 4 or coverage != (image[0], 1, *image[2:]):
            raise ArgumentError("WarpedReference", f"{tuple(image)}, {tuple(coverage)}", "give [B,3,S,S] and [B,1,S,S]")


def warp_reference(
    image: Tensor,
    source_points: Tensor,
    target_points: Tensor,
    size: int = 128,
    method: str = "tps",
    *,
    feather: float = 0.04,
) -> WarpedReference:
    """Draw a reference photo so that its landmarks lie on those of the low-resolution face.

    Anti-aliased where the photo shrinks, differentiable in image and points, on the image's device.

    Args:
        image: the photo, [B, 3, H, W] in 0..1.
        source_points: its landmarks [B, N, 2] in its pixels (N = 68, or any N >= 3 pairs; 2 for a similarity).
        target_points: the face's landmarks [B, N, 2] in crop pixels.
        size: side S of the crop.
        method: "similarity", "affine", "tps" (thin-plate spline) or "piecewise" (affine).
        feather: fraction of S over which the coverage fades at the photo's border.
    """
    wide = torch.float64 if image.dtype == torch.float64 else torch.float32
    source, target = (p.to(image.device, wide) for p in (source_points, target_points))
    scale = _scale(source, target)
    shrink = float((1 / scale).max())
    reduced, factor = preshrink(image, shrink)
    k = oversampling_for(shrink / factor)
    field = warp_field((source + 0.5) / factor - 0.5, target, size, method, oversampling=k)
    drawn = sample(reduced, field, padding="border")
    cover = _coverage(field, reduced.shape[-1], reduced.shape[-2], scale.view(-1, 1, 1) * factor / (feather * size))
    if k > 1:
        drawn, cover = F.avg_pool2d(drawn, k), F.avg_pool2d(cover, k)
    return WarpedReference(image=drawn, coverage=cover.to(image.dtype))


def _scale(source: Tensor, target: Tensor) -> Tensor:
    """Target pixels per photo pixel [B] of the best similarity, without a gradient."""
    matrix = similarity_from_points(source.detach(), target.detach())
    return matrix[:, :, 0].norm(dim=1)


def _coverage(field: Tensor, width: int, height: int, slope: Tensor) -> Tensor:
    """1 inside the photo, falling smoothly to 0 at its border; ``slope`` [B, 1, 1] is the fall per photo pixel."""
    limit = field.new_tensor((width, height))
    distance = torch.minimum(field.detach() + 0.5, limit - 0.5 - field.detach()).amin(-1)
    ramp = (distance * slope).clamp(0, 1)
    return (ramp * ramp * (3 - 2 * ramp))[:, None]

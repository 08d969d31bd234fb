"""Everything the denoiser sees of one face, or of a batch of faces at one scale."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import ArgumentError


@dataclass(frozen=True, kw_only=True)
class Conditioning:
    """Conditions of B faces, all float32, pictures RGB in 0..1, S the side of the crop, h the side of the LR face."""

    lr: Tensor  # [B, 3, h, h] the LR pixels themselves; one size per batch
    mask: Tensor  # [B, 1, S, S] 0..1, the facial region whose detail is forgotten
    style: Tensor  # [B, 3, S, S] ONE warped photo: pose, light, expression; the composite is made of it
    style_coverage: Tensor  # [B, 1, S, S] 0..1, where that photo has pixels; all zero: no style
    references: Tensor  # [B, K, 3, S, S] warped photos of the right person, K >= 0
    reference_coverage: Tensor  # [B, K, 1, S, S] 0..1
    reference_valid: Tensor  # [B, K] bool; False: no photo in this place
    identity: Tensor  # [B, D] the identity vector (unit norm unless fitted); all zero: none

    def __post_init__(self) -> None:
        batch, _, size, _ = self.mask.shape
        places = self.references.shape[1]
        expected = {
            "lr": (batch, 3, self.lr.shape[-1], self.lr.shape[-1]),
            "mask": (batch, 1, size, size),
            "style": (batch, 3, size, size),
            "style_coverage": (batch, 1, size, size),
            "references": (batch, places, 3, size, size),
            "reference_coverage": (batch, places, 1, size, size),
            "reference_valid": (batch, places),
            "identity": (batch, self.identity.shape[-1]),
        }
        for name, shape in expected.items():
            actual = tuple(getattr(self, name).shape)
            if actual != shape:
                raise ArgumentError(f"Conditioning.{name}", f"shape {actual}", f"give shape {shape}")
        if not 1 <= self.lr.shape[-1] <= size:
            raise ArgumentError("Conditioning.lr", f"{self.lr.shape[-1]} px", f"give 1 to {size} pixels a side")

    @property
    def size(self) -> int:
        """Side of the crop in pixels."""
        return self.mask.shape[-1]

    @property
    def scale(self) -> float:
        """How many crop pixels one LR pixel became."""
        return self.size / self.lr.shape[-1]

    @cached_property
    def upsampled(self) -> Tensor:
        """The LR face at crop size, bicubic. [B, 3, S, S], 0..1."""
        return upsample(self.lr, self.size).clamp(0, 1)

    def to(self, device: torch.device | str) -> Conditioning:
        """The same on another device."""
        return self._map(lambda value: value.to(device))

    def select(self, index: slice | Tensor) -> Conditioning:
        """Some faces of the batch."""
        return self._map(lambda value: value[index])

    def without_style(self) -> Conditioning:
        """The style photo taken away: the composite falls back to the upsampled LR face."""
        return replace(self, style=torch.zeros_like(self.style), style_coverage=torch.zeros_like(self.style_coverage))

    def without_identity(self) -> Conditioning:
        """Vector and reference photos taken away: nothing but the style photo says who it is."""
        return replace(
            self,
            identity=torch.zeros_like(self.identity),
            reference_valid=torch.zeros_like(self.reference_valid),
        )

    def with_identity(self, identity: Tensor) -> Conditioning:
        """The same with other identity vectors, [B, D] or [D]."""
        return replace(self, identity=identity.expand(self.identity.shape[0], -1))

    def _map(self, function) -> Conditioning:
        return Conditioning(**{field.name: function(getattr(self, field.name)) for field in fields(self)})


def upsample(x: Tensor, size: int) -> Tensor:
    """Bicubic to ``size`` pixels a side. [B, C, h, h] -> [B, C, size, size]; may leave the input's range a little."""
    return F.interpolate(x, size=(size, size), mode="bicubic", align_corners=False)


def downsample(x: Tensor, size: int) -> Tensor:
    """Area average to ``size`` pixels a side, the degradation operator A. [B, C, S, S] -> [B, C, size, size]."""
    return F.adaptive_avg_pool2d(x, (size, size))

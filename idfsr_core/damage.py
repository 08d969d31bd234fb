"""What can be done to a good picture; :mod:`idfsr_core.degrading` does it. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import ArgumentError

_RANGES = {"scale": (1, 64), "blur": (0, 4), "noise": (0, 64), "jpeg": (1, 100)}
NO_JPEG = 100


@dataclass(frozen=True, kw_only=True)
class Damage:
    """What happens to a picture, in this order (GFPGAN, arXiv 2101.04061, eq. 1).

    Raises:
        ArgumentError: a value out of its range.
    """

    blur: float = 0.0
    """Deviation of a Gaussian blur before the picture is made smaller, in pixels of the small picture, 0 to 4."""
    scale: float = 16.0
    """How many times smaller each side becomes, by area average, 1 to 64."""
    noise: float = 0.0
    """Standard deviation of Gaussian noise in the small picture, in levels of 255, 0 to 64."""
    jpeg: int = NO_JPEG
    """JPEG quality of the small picture, 1 to 99; 100 leaves JPEG out."""
    seed: int = 0
    """Seed of the noise."""

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            if not low <= getattr(self, name) <= high:
                raise ArgumentError(name, getattr(self, name), f"use a value from {low} to {high}")

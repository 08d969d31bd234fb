"""What a denoiser is made of. Written into every bundle and checkpoint, so a file says how to build itself."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from ..errors import ArgumentError, FileFormatError

STARTS = ("composite", "noise")


@dataclass(frozen=True, kw_only=True)
class DenoiserConfig:
    """Sizes of the denoiser. The defaults are those of the shipped compact model."""

    size: int = 128
    """Side of the face crop in pixels; a multiple of ``patch * 2 ** (len(channels) - 1)``."""
    patch: int = 4
    """Side of the pixel patch that becomes one cell of the UNet's grid."""
    channels: tuple[int, ...] = (64, 128, 256)
    """UNet channels from the fine grid to the coarse one; each a multiple of ``groups`` and of ``heads``."""
    attention: tuple[bool, ...] = (False, True, True)
    """Which resolutions attend to the tokens of identity, style and references."""
    layers: int = 1
    """Residual blocks per resolution."""
    heads: int = 4
    """Attention heads."""
    groups: int = 16
    """Groups of the adaptive group normalisation."""
    token_dim: int = 192
    """Width of the cross-attention tokens."""
    identity_dim: int = 512
    """Length of the identity vector."""
    identity_tokens: int = 4
    """Tokens that the identity vector becomes."""
    identity_maps: int = 8
    """Maps over the aligned face that the identity vector draws by itself, as eigenfaces do, for the UNet to see."""
    style_dim: int = 96
    """Length of the style vector that enters the adaptive group norm."""
    photo_channels: int = 48
    """Width of the first layer of the networks that read warped photos."""
    start: str = "composite"
    """Where sampling starts: "composite" (ours: null-space composite plus a little noise, the network predicts the
    correction) or "noise" (the paper's form: pure noise, masked LR, style, identity)."""
    start_noise: float = 0.2
    """Standard deviation of the noise at time 1, pictures being in -1..1. Must be 1 for ``start="noise"``."""

    slope: bool = True
    """Whether the denoiser sees how the identity encoder would have the picture changed (see ``Judge.slope``)."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels))
        object.__setattr__(self, "attention", tuple(self.attention))
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int) and not isinstance(value, bool) and value < 1:
                raise ArgumentError(f"DenoiserConfig.{field.name}", value, "use a positive number")
        if self.start not in STARTS:
            raise ArgumentError("DenoiserConfig.start", self.start, f"use one of {', '.join(STARTS)}")
        if self.start == "noise" and self.start_noise != 1:
            raise ArgumentError("DenoiserConfig.start_noise", self.start_noise, "use 1 when sampling starts from noise")
        if self.slope and self.start == "noise":
            raise ArgumentError("DenoiserConfig.slope", True, "use it where sampling starts from a face")
        if not 0 <= self.start_noise <= 1:
            raise ArgumentError("DenoiserConfig.start_noise", self.start_noise, "use a value from 0 to 1")
        if len(self.attention) != len(self.channels):
            raise ArgumentError("DenoiserConfig.attention", self.attention, "give one flag per resolution")
        stride = self.patch * 2 ** (len(self.channels) - 1)
        if self.size % stride:
            raise ArgumentError("DenoiserConfig.size", self.size, f"use a multiple of {stride}")
        for channels in self.channels:
            if channels % self.groups or channels % self.heads:
                raise ArgumentError(
                    "DenoiserConfig.channels", channels, f"use multiples of {self.groups} groups and {self.heads} heads"
                )

    def to_dict(self) -> dict:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> DenoiserConfig:
        """The inverse of :meth:`to_dict`; refuses keys it does not know, naming them."""
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise FileFormatError("denoiser configuration", f"unknown keys {unknown}", "update this package")
        before: dict[str, Any] = {"slope": False}  # files from before it was thought of do not name it
        return cls(**(before | values))

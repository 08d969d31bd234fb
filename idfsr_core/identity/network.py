"""The compact encoder's network: a small residual network on an ArcFace-aligned face of 112x112 pixels."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from ..errors import ArgumentError

FACE_SIZE = 112


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """Size of an :class:`EncoderNetwork`."""

    stem: int = 24
    """Channels at 56x56 pixels, the first convolution."""
    widths: tuple[int, ...] = (48, 128, 176)
    """Channels of the stages at 28, 14 and 7 pixels, and so on: each stage halves the side."""
    depths: tuple[int, ...] = (1, 3, 2)
    """Residual blocks of each stage."""
    head: int = 256
    """Channels just before the spatial pooling."""
    dim: int = 512
    """Length of the embedding."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        object.__setattr__(self, "depths", tuple(self.depths))
        numbers = (self.stem, self.head, self.dim, *self.widths, *self.depths)
        if not all(isinstance(n, int) and n > 0 for n in numbers):
            raise ArgumentError("EncoderConfig", asdict(self), "give positive whole numbers")
        if len(self.widths) != len(self.depths) or not 1 <= len(self.widths) <= 3:
            raise ArgumentError("EncoderConfig", asdict(self), "give one to three widths and as many depths")

    def to_dict(self) -> dict:
        """The fields as plain values, for a file's metadata."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @staticmethod
    def from_dict(values: dict) -> EncoderConfig:
        """The reverse of :meth:`to_dict`; an unknown or missing field raises :class:`ArgumentError`."""
        known = set(EncoderConfig.__dataclass_fields__)
        if set(values) != known:
            odd = sorted(set(values) ^ known)
            raise ArgumentError("encoder configuration", odd, f"give exactly the fields {sorted(known)}")
        return EncoderConfig(**values)


def _convolution(inputs: int, outputs: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
    )


class _Block(nn.Module):
    """Two 3x3 convolutions around an identity shortcut; the second starts at zero, so a fresh block does nothing."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _convolution(channels, channels)
        self.second = _convolution(channels, channels)
        nn.init.zeros_(self.second[1].weight)  # pyright: ignore[reportArgumentType]

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.second(torch.relu(self.first(x))))


class _Stage(nn.Sequential):
    def __init__(self, inputs: int, outputs: int, depth: int) -> None:
        super().__init__(_convolution(inputs, outputs, 2), nn.ReLU(), *(_Block(outputs) for _ in range(depth)))


class EncoderNetwork(nn.Module):
    """Face to embedding and quality.

    A convolution to 56x56, stages of residual blocks that each halve the side, and a pooling that weights every
    place of the last grid by itself per channel (MobileFaceNets' "global depthwise convolution", arXiv 1804.07573):
    an aligned face has its mouth always in the same cells.
    """

    def __init__(self, config: EncoderConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or EncoderConfig()
        side = FACE_SIZE // 2 ** (1 + len(config.widths))
        self.stem = _convolution(3, config.stem, 2)
        inputs = (config.stem, *config.widths[:-1])
        self.stages = nn.Sequential(*(_Stage(*s) for s in zip(inputs, config.widths, config.depths, strict=True)))
        self.expand = _convolution(config.widths[-1], config.head, kernel=1)
        self.places = nn.Parameter(torch.full((1, config.head, side, side), 1 / side**2))
        self.pooled_norm = nn.BatchNorm1d(config.head)
        self.embedding = nn.Linear(config.head, config.dim)
        self.quality = nn.Linear(config.head, 1)

    def forward(self, faces: Tensor) -> tuple[Tensor, Tensor]:
        """Embed aligned faces.

        Args:
            faces: [B, 3, 112, 112], RGB, 0..1.

        Returns:
            The embedding [B, dim], NOT normalised, and the quality [B] in 0..1: the cosine to be expected
            between this embedding and that of a clean copy of the same photo.
        """
        x = torch.relu(self.stem((faces - 0.5) * 2))
        x = torch.relu(self.expand(self.stages(x)))
        # The sum over places and the two small heads keep the parameters' precision, also under autocast.
        with torch.autocast(x.device.type, enabled=False):
            pooled = self.pooled_norm((x.to(self.places.dtype) * self.places).sum((2, 3)))
            return self.embedding(pooled), self.quality(pooled).squeeze(1).sigmoid()

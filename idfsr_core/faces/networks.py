"""The small networks of the compact analyzer: a face detector, and a landmark regressor in two sizes.

Both are plain convolutions, so that they run on any device and are cheap on one processor core.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ArgumentError
from .points import POINTS


@dataclass(frozen=True, kw_only=True)
class LandmarkConfig:
    """Size of :class:`LandmarkNet`."""

    crop: int = 64  # side of its input in pixels, a multiple of 16
    widths: tuple[int, ...] = (24, 56, 96, 128)  # channels at crop/2, /4, /8, /16
    hidden: int = 192  # width of the fully connected layer

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        if self.crop % 16 or self.crop < 16:
            raise ArgumentError("LandmarkConfig.crop", self.crop, "use a multiple of 16")
        _check_widths("LandmarkConfig.widths", self.widths, 4)

    def to_dict(self) -> dict:
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class DetectorConfig:
    """Size of :class:`Detector`."""

    widths: tuple[int, ...] = (16, 48, 96, 128)  # channels at 1/2, 1/4, 1/8, 1/16 of the picture

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        _check_widths("DetectorConfig.widths", self.widths, 4)

    def to_dict(self) -> dict:
        return asdict(self)


def _check_widths(what: str, widths: tuple[int, ...], count: int) -> None:
    if len(widths) != count or min(widths) < 1:
        raise ArgumentError(what, widths, f"give {count} positive channel counts")


class Residual(nn.Module):
    """Two 3x3 convolutions around a shortcut; halves the grid when ``stride`` is 2."""

    def __init__(self, inner: int, outer: int, stride: int = 1) -> None:
        super().__init__()
        self.first = _conv(inner, outer, stride)
        self.second = nn.Sequential(nn.Conv2d(outer, outer, 3, padding=1, bias=False), nn.BatchNorm2d(outer))
        self.skip = nn.Identity() if inner == outer else nn.Conv2d(inner, outer, 1)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        skip = F.avg_pool2d(x, 2) if self.stride == 2 else x
        return F.relu(self.second(self.first(x)) + self.skip(skip))


def _conv(inner: int, outer: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    conv = nn.Conv2d(inner, outer, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outer), nn.ReLU(inplace=True))


class LandmarkNet(nn.Module):
    """Points of the face in the middle of a square crop, with how sure each one is."""

    def __init__(self, config: LandmarkConfig) -> None:
        super().__init__()
        self.config = config
        a, b, c, d = config.widths
        self.body = nn.Sequential(
            _conv(3, a, 2), Residual(a, a), Residual(a, b, 2), Residual(b, b), Residual(b, c, 2), Residual(c, c),
            Residual(c, d, 2), _conv(d, d // 2, kernel=1),
        )  # fmt: skip
        cells = (config.crop // 16) ** 2
        self.hidden = nn.Linear(d // 2 * cells, config.hidden)
        self.points = nn.Linear(config.hidden, POINTS * 2)
        self.spread = nn.Linear(config.hidden, POINTS)
        nn.init.normal_(self.points.weight, std=1e-3)
        nn.init.normal_(self.spread.weight, std=1e-3)
        nn.init.constant_(self.spread.bias, -3.0)

    def forward(self, crop: Tensor) -> tuple[Tensor, Tensor]:
        """Points and their spread.

        Args:
            crop: [B, 3, S, S], RGB in 0..1.

        Returns:
            Points [B, 73, 2] (five keypoints, then 68 landmarks) as fractions of the crop's side from its centre, and
            the logarithm [B, 73] of the expected error (the scale of a Laplace distribution) in the same unit.
        """
        features = self.body((crop - 0.5) * 4)
        hidden = F.relu(self.hidden(features.flatten(1)).float())
        with torch.autocast(hidden.device.type, enabled=False):  # a pixel is 1/64: bfloat16 would round it away
            points, spread = self.points(hidden), self.spread(hidden)
        return points.unflatten(1, (POINTS, 2)), spread.clamp(-7.0, 1.0)


class Detector(nn.Module):
    """Is there the centre of a face in this cell of four pixels, and where are its box and keypoints?

    Made for faces 8 to 48 pixels tall in its input; an image pyramid brings others there.
    """

    stride = 4
    outputs = 1 + 4 + 10  # heat; box centre and log size; five keypoints

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.config = config
        a, b, c, d = config.widths
        self.stem = nn.Sequential(_conv(3, a, 2), _conv(a, b, 2), Residual(b, b))
        self.eighth = nn.Sequential(Residual(b, c, 2), Residual(c, c))
        self.sixteenth = Residual(c, d, 2)
        self.lift_d, self.lift_c = nn.Conv2d(d, c, 1), nn.Conv2d(c, b, 1)
        self.merge = _conv(b, b)
        self.head = nn.Conv2d(b, self.outputs, 1)
        nn.init.normal_(self.head.weight, std=1e-2)
        bias = torch.zeros(self.outputs)
        bias[0] = -4.0  # nearly every cell is background
        self.head.bias = nn.Parameter(bias)

    def forward(self, image: Tensor) -> Tensor:
        """Maps [B, 15, H/4, W/4] of pictures [B, 3, H, W] (RGB in 0..1, sides multiples of 16)."""
        quarter = self.stem((image - 0.5) * 4)
        eighth = self.eighth(quarter)
        eighth = eighth + F.interpolate(self.lift_d(self.sixteenth(eighth)), scale_factor=2.0)
        quarter = quarter + F.interpolate(self.lift_c(F.relu(eighth)), scale_factor=2.0)
        return self.head(self.merge(F.relu(quarter)).float())

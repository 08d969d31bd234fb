"""Make a small, bad copy of a picture, to try restoring on: 8x, 16x, 32x or any other factor.

"area" averages the covered pixels, "bicubic" is the usual resizing, "blind" adds blur, noise and JPEG as real pictures
have them.

examples:
  python -m idfsr_core degrade portrait.jpg --scale 16 --output small.png
  python -m idfsr_core degrade portrait.jpg --scale 8 --kind blind --seed 3 --keep-size --output bad.png
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ArgumentError
from . import common

if TYPE_CHECKING:
    from torch import Tensor

KINDS = ("area", "bicubic", "blind")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The picture, the factor and the kind of damage."""
    parser.add_argument("picture", metavar="PICTURE", help="the good picture")
    parser.add_argument("--output", metavar="FILE", required=True, help="picture to write, PNG or JPEG")
    parser.add_argument("--scale", type=float, default=16, metavar="1..64", help="how much smaller (default: 16)")
    parser.add_argument("--kind", choices=KINDS, default="area", help="the kind of damage (default: area)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the random damage (default: 0)")
    parser.add_argument(
        "--keep-size", action="store_true", help="enlarge the result back to the picture's size, bicubic"
    )


def run(args: argparse.Namespace) -> int:
    """Read, spoil, write."""
    import torch

    from ..images import write_image

    common.check_picture(Path(args.output))
    image = common.read(Path(args.picture))
    small = spoil(image, args.scale, args.kind, torch.Generator().manual_seed(args.seed))
    height, width = small.shape[-2:]
    if args.keep_size:
        small = torch.nn.functional.interpolate(small, image.shape[-2:], mode="bicubic").clamp(0, 1)
    write_image(Path(args.output), small)
    print(f"{args.output}: {image.shape[-1]}x{image.shape[-2]} became {width}x{height} ({args.kind}, {args.scale:g}x)")
    return 0


def spoil(image: Tensor, scale: float, kind: str, generator: object = None) -> Tensor:
    """Degrade a picture [1, 3, H, W] of any shape: the square of the training formula, cut back to the picture."""
    import math

    from torch.nn import functional as F

    from ..pretraining.degradations import degrade

    height, width = image.shape[-2:]
    if not 1 <= scale <= 64 or min(height, width) < scale:
        raise ArgumentError("--scale", scale, f"use 1 to {min(64, height, width)} for {width}x{height} pixels")
    side = math.ceil(math.ceil(max(height, width) / scale) * scale)
    square = F.pad(image, (0, side - width, 0, side - height), mode="replicate")
    return degrade(square, scale, kind, generator)[..., : round(height / scale), : round(width / scale)]  # pyright: ignore

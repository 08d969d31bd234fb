"""Restore the shipped sample and write the pictures to a folder: the small picture, the result, a sheet to compare.

The sample people do not exist. Works offline with the shipped bundle.

example:
  python -m idfsr_core demo --output out/
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from . import common

if TYPE_CHECKING:
    pass

SAMPLES = Path(__file__).parent.parent / "assets" / "samples"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where to write and how small the face is made."""
    parser.add_argument("--output", metavar="DIR", default="out/demo", help="folder to write (default: out/demo)")
    parser.add_argument(
        "--scale", type=float, default=16, metavar="4..32", help="how small the face is made (default: 16)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the noise (default: 0)")
    common.add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Restore one photo of each sample person, with the person's other photos as references."""
    raise NotImplementedError

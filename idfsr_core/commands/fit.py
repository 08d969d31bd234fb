"""Fit an identity to a person: freeze the restorer and learn the one vector that rebuilds the person's photos best.

Starts from the pooled identity of `encode`, stays near it, and works with 1 to 20 photos. With four or more, one photo
is kept out; the vector is then never worse than the start on that photo. Ctrl-C keeps the best so far.

examples:
  python -m idfsr_core fit photos/anna --output anna.safetensors
  python -m idfsr_core fit photos/anna --output anna.safetensors --steps 80 --seed 1
"""

from __future__ import annotations

import argparse

from . import common


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Photos, the file to write, the length of the fit, the model."""
    parser.add_argument("references", metavar="PHOTO|FOLDER", nargs="+", help="photos of one person, 1 to 20")
    parser.add_argument("--output", metavar="FILE", required=True, help="identity file to write, *.safetensors")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of sentences")
    common.add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Prepare the photos, fit, save, say what was gained."""
    raise NotImplementedError

"""Restore the shipped samples and write the pictures to a folder: the small pictures, the results, a sheet to compare.

One photo of each sample person is made so small that the face is 128 / SCALE pixels wide; the person's other photos
are the references. The sample people do not exist. Works offline with the shipped bundle.

The columns of sheet.png: the small picture enlarged, the restored face, the photo it was made from, the best reference.

example:
  python -m idfsr_core demo --output out/demo
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import FileFormatError
from . import common
from .degrade import spoil

if TYPE_CHECKING:
    from torch import Tensor

    from ..bundle import Bundle
    from ..restoration import Restoration
    from ..runtime import Runtime

SAMPLES = Path(__file__).parent.parent / "assets" / "samples"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where to write and how small the face is made."""
    parser.add_argument("--output", metavar="DIR", default="out/demo", help="folder to write (default: out/demo)")
    parser.add_argument("--scale", type=float, default=16, metavar="4..32", help="how small the face is (default: 16)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the noise (default: 0)")
    parser.add_argument("--samples", metavar="DIR", default=str(SAMPLES), help="folder with one folder per person")
    common.add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Restore one photo of each sample person."""
    import torch

    from ..images import write_image

    people = sample_people(Path(args.samples))
    output = Path(args.output)
    common.check_writable(output)
    runtime = common.runtime_of(args)
    bundle = common.bundle_of(args, runtime)
    rows = []
    for name, photos in people.items():
        small, result, row = _restore(bundle, photos, args.scale, args.seed, runtime)
        write_image(output / f"{name}-small.png", small)
        write_image(output / f"{name}-restored.png", result.image)
        write_image(output / f"{name}-face.png", result.crop)
        rows.append(row)
        size = f"{small.shape[-1]}x{small.shape[-2]}"
        print(
            f"{name}: face of {result.face.width:.0f} px in a picture of {size}, scale {result.scale:.1f}x, reference"
            f" {result.reference} ({result.reference_reason}); identity similarity {result.similarity_before:.2f}"
            f" before, {result.similarity_after:.2f} after; {sum(result.timings.values()):.1f} s"
        )
    write_image(output / "sheet.png", torch.cat(rows, 2))
    print(f"written to {output}: sheet.png compares them all; peak memory {common.memory_line()}")
    return 0


def sample_people(folder: Path) -> dict[str, list[Path]]:
    """Photos by person, by name; the first of each is restored from the others."""
    from ..images import list_images

    people = {place.name: list_images(place) for place in sorted(folder.glob("*")) if place.is_dir()}
    if not people or min(len(photos) for photos in people.values()) < 2:
        raise FileFormatError(f"samples {folder}", "no people with two photos", "reinstall the package")
    return people


def _restore(
    bundle: Bundle, photos: list[Path], scale: float, seed: int, runtime: Runtime
) -> tuple[Tensor, Restoration, Tensor]:
    """The small picture, what became of it, and its row of the sheet."""
    import torch

    from ..errors import FaceNotFoundError
    from ..options import RestoreOptions
    from ..references import largest_face, prepare_references
    from ..restoration import restore_image
    from ..steps import align

    truth = common.read(photos[0])
    face = largest_face(bundle.analyzer.analyze(truth))
    if face is None:
        raise FaceNotFoundError(f"sample {photos[0]}", "no face found", "use the shipped bundle")
    small = spoil(truth, max(1.0, scale / align(face).scale), "area")
    named = ((path.name, common.read(path)) for path in photos[1:])
    references = prepare_references(bundle.analyzer, bundle.encoder, named, runtime.check)
    result = restore_image(bundle, small, references, RestoreOptions(seed=seed, face="largest"), None, runtime)
    best = next(photo for photo in references.photos if photo.name == result.reference)
    row = [result.before, result.crop, align(face).crop(truth), best.crop[..., 32:160, 32:160]]
    enlarged = [torch.nn.functional.interpolate(each.cpu(), 256, mode="bicubic").clamp(0, 1) for each in row]
    return small, result, torch.cat(enlarged, 3)

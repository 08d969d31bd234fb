"""Restore the shipped group picture and write the results to a folder, offline, with the shipped bundle.

Three people stand in it, with faces of about 14 pixels. Each is looked for by the person's other photos and restored
from them. None of the three exists.

What is written: scene.png (the picture enlarged), scene-restored.png (with all three faces restored), NAME.png (each
face alone) and sheet.png, a row per person: the face enlarged, the face restored, the photo that the scene was made
from, the best reference as it was laid on (mirrored, where that fits better).

example:
  python -m idfsr_core demo --output out/demo
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import FileFormatError
from ..options import RestoreOptions
from . import common

if TYPE_CHECKING:
    from torch import Tensor

    from ..bundle import Bundle
    from ..faces.analyzer import FaceAnalyzer
    from ..references import PreparedReferences
    from ..restoration import Restoration
    from ..runtime import Runtime

SAMPLES = Path(__file__).parent.parent / "assets" / "samples"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where to write, and how."""
    parser.add_argument("--output", metavar="DIR", default="out/demo", help="folder to write (default: out/demo)")
    steps = RestoreOptions().steps
    parser.add_argument(
        "--steps", type=int, default=steps, metavar="1..1000", help="denoising steps (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the noise (default: 0)")
    common.add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Restore each person of the scene."""
    import torch

    from ..images import up, write_image
    from ..restoration import restore_image

    people, output = sample_people(SAMPLES), Path(args.output)
    options = RestoreOptions(steps=args.steps, seed=args.seed)
    common.check_writable(output)
    runtime = common.runtime_of(args)
    bundle = common.bundle_of(args, runtime)
    analyzer = common.analyzer_of(args, bundle, runtime)
    scene, results, rows = common.read(SAMPLES / "scene.jpg"), [], []
    for name, photos in people.items():
        references = _references(bundle, analyzer, photos[1:], runtime)
        result = restore_image(bundle, scene, references, options, None, runtime, analyzer)
        write_image(output / f"{name}.png", result.crop)
        rows.append(_row(result, references, photos[0], analyzer))
        results.append(result)
        print(_in_words(name, result))
    size = (results[0].image.shape[-1], results[0].image.shape[-2])
    write_image(output / "scene.png", up(scene, (size[1], size[0])).clamp(0, 1))
    write_image(output / "scene-restored.png", _all_in_one(scene, results, size))
    write_image(output / "sheet.png", torch.cat(rows, 2))
    print(f"written to {output}; peak memory {common.memory_line()}")
    return 0


def sample_people(folder: Path) -> dict[str, list[Path]]:
    """Photos by person; the first of each is in the scene, the others are references."""
    from ..images import list_images

    people = {place.name: list_images(place) for place in sorted(folder.glob("*")) if place.is_dir()}
    if not people or min(len(photos) for photos in people.values()) < 2:
        raise FileFormatError(f"samples {folder}", "no people with two photos", "reinstall the package")
    return people


def _references(bundle: Bundle, analyzer: FaceAnalyzer, photos: list[Path], runtime: Runtime) -> PreparedReferences:
    from ..references import prepare_references

    pictures = ((p.name, common.read(p)) for p in photos)
    return prepare_references(analyzer, bundle.encoder, pictures, runtime.check, bundle.face_size)


def _in_words(name: str, result: Restoration) -> str:
    return (
        f"{name}: face of {result.face.width:.0f}x{result.face.height:.0f} px, {result.face_reason}; scale"
        f" {result.scale:.1f}x; reference {result.reference}, {result.reference_reason}; identity similarity"
        f" {result.similarity_before:.2f} before, {result.similarity_after:.2f} after;"
        f" {sum(result.timings.values()):.1f} s"
    )


def _all_in_one(scene: Tensor, results: list[Restoration], size: tuple[int, int]) -> Tensor:
    """The scene enlarged to ``size`` (width, height) with every restored face in its place."""
    import torch

    from ..images import up
    from ..pasting import agree_around
    from ..steps import enlarged_alignment

    picture = up(scene, (size[1], size[0])).clamp(0, 1)
    faces = torch.zeros_like(picture[:, :1])
    for result in results:
        place, feather = enlarged_alignment(result.alignment, size), result.options.paste_feather
        picture = place.paste(picture, result.crop.to(picture), feather=feather)
        ones = torch.ones_like(result.crop[:, :1]).to(faces)
        faces = place.paste(faces, ones, result.mask, feather=feather)
    return agree_around(picture, scene, faces)


def _row(result: Restoration, references: PreparedReferences, truth: Path, analyzer: FaceAnalyzer) -> Tensor:
    """One person's row of the sheet, [1, 3, 256, 1024]."""
    import torch

    from ..images import up
    from ..references import inner_crop, largest_face, mirrored
    from ..steps import align

    photo = common.read(truth)
    face = largest_face(analyzer.analyze(photo))
    used = next(each for each in references.photos if each.name == result.reference)
    inner = inner_crop(mirrored(used) if result.reference_mirrored else used)
    shown = align(face, inner.shape[-1]).crop(photo) if face else torch.zeros_like(inner)
    return torch.cat([up(each.cpu(), 256).clamp(0, 1) for each in (result.before, result.crop, shown, inner)], 3)

"""Restore a small face in a picture, or in every picture of a folder, from a few good photos of the person.

What happens: the face is found (the one most like the references where there are several), cut out, masked; the best
fitting reference is warped onto it; the identity of all references (or of --identity) is read; the face is restored at
the model's size (128 px) and pasted back into the picture, which is enlarged so that the new detail has room.

examples:
  python -m idfsr_core restore group.jpg --references photos/ --output out.png
  python -m idfsr_core restore group.jpg --references photos/ --box 210 80 226 102 --json
  python -m idfsr_core restore stills/ --references photos/ --identity anna.safetensors --output restored/
  accelerate launch -m idfsr_core restore stills/ --references photos/ --output restored/   (files split over processes)
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ArgumentError, IDFSRError
from ..options import FACE_CHOICES, MASK_MODES, SCHEDULERS, WARP_METHODS, RestoreOptions
from . import common
from .spread import Spread

if TYPE_CHECKING:
    from ..bundle import Bundle
    from ..faces.analyzer import FaceAnalyzer
    from ..identity.embedding import IdentityEmbedding
    from ..references import PreparedReferences
    from ..restoration import Restoration
    from ..runtime import Runtime


def _face(text: str) -> str | int:
    return int(text) if text.lstrip("-").isdigit() else text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Every field of RestoreOptions, the pictures and where the results go."""
    parser.add_argument(
        "picture", metavar="PICTURE|FOLDER", help="the picture with the small face, or a folder of such"
    )
    parser.add_argument("--references", metavar="DIR", nargs="+", help="good photos of the person: a folder, or files")
    parser.add_argument(
        "--identity", metavar="FILE", help="an embedding written by `encode` or `fit`, used instead of pooling"
    )
    parser.add_argument("--output", metavar="FILE|DIR", help="where to write (default: PICTURE_restored.png beside it)")
    parser.add_argument(
        "--mask", metavar="FILE", help="grey picture as large as PICTURE, white where the face is to be rebuilt"
    )
    parser.add_argument("--crop", metavar="FILE", help="also write the restored face alone (one picture only)")
    parser.add_argument("--json", action="store_true", help="print one JSON object per picture instead of sentences")
    add_option_arguments(parser)
    common.add_model_arguments(parser)


def add_option_arguments(parser: argparse.ArgumentParser) -> None:
    """One argument per field of RestoreOptions, with its default."""
    default = RestoreOptions()
    group = parser.add_argument_group("which face")
    choice = group.add_mutually_exclusive_group()
    names = ", ".join(FACE_CHOICES)
    text = f"number counted from the left, from 0, or {names} (default: {default.face})"
    choice.add_argument("--face", type=_face, metavar="N", default=default.face, help=text)
    text = "the face is inside this box in pixels of the picture, at least 4 px a side; nothing is searched"
    choice.add_argument("--box", type=float, nargs=4, metavar=("X0", "Y0", "X1", "Y1"), help=text)
    text = "crop pixels per real pixel, where the picture was enlarged before (default: from the face's size)"
    group.add_argument("--scale", type=float, metavar="1..64", help=text)
    group = parser.add_argument_group("how to restore")
    for name, kind, metavar, text in _NUMBERS:
        shown = getattr(default, name)
        text += f" (default: {shown})" if shown is not None else ""
        group.add_argument(_flag(name), type=kind, metavar=metavar, default=shown, help=text)
    for name, choices, text in _CHOICES:
        shown = getattr(default, name)
        group.add_argument(_flag(name), choices=choices, default=shown, help=f"{text} (default: {shown})")
    text = "fit the landmarks to the picture's own pixels, by help of the best reference (default: %(default)s)"
    group.add_argument("--refine", action=argparse.BooleanOptionalAction, default=default.refine, help=text)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


_CHOICES = (
    ("scheduler", SCHEDULERS, "the way from noise to picture"),
    ("mask_mode", MASK_MODES, "hard forgets the face, soft keeps the more of its pixels the milder the scale"),
    ("warp_method", WARP_METHODS, "how the best reference is brought onto the face"),
    ("reference_warp", WARP_METHODS, "how all references are brought onto the face"),
)
_NUMBERS = (
    ("steps", int, "1..1000", "denoising steps"),
    ("steering", int, "0..100", "small steps towards the identity as the encoder sees it; 0: none"),
    ("seed", int, "N", "seed of the noise; the same seed gives the same picture"),
    ("style_guidance", float, "0..10", "1 as trained, more follows the reference's pose and light"),
    ("identity_guidance", float, "0..10", "1 as trained, more pushes towards the identity"),
    ("consistency", float, "0..1", "how firmly the result is held to the picture's pixels"),
    ("mask_grow", float, "-0.5..0.5", "widens the mask, fraction of the crop's side"),
    ("mask_feather", float, "0..0.5", "soft edge of the mask, fraction of the crop's side"),
    ("mask_forehead", float, "0..2", "height of the forehead above the brows, fraction of nose bridge to chin"),
    ("max_references", int, "1..32", "reference photos used at once, the best fitting first"),
    ("likeness", float, "0..10", "what looking like the person counts in the choice of the photo; 0: pose alone"),
    ("mirror", float, "0..1", "by how many eye distances a mirrored photo has to fit better; 1: never"),
    ("merge", float, "0..1", "how much of what the other photos agree on is laid into the best one; 0: nothing"),
    (
        "glimpse",
        float,
        "0..2",
        "what the small picture's own look counts beside the identity and in the choice; 0: nothing",
    ),
    ("enlarge", float, "1..64", "how much the picture grows; default: as far as the face gains, up to 4096 px a side"),
    ("paste_feather", float, "0..0.5", "width of the crop's fade into the picture, fraction of its side"),
)


def options_of(args: argparse.Namespace) -> RestoreOptions:
    """The options that the arguments say; a value out of range raises ArgumentError."""
    values = {name: getattr(args, name) for name in RestoreOptions.__dataclass_fields__ if hasattr(args, name)}
    return RestoreOptions.from_dict(values)


@dataclass(frozen=True, kw_only=True)
class _Work:
    """What is read once for all pictures of a run."""

    bundle: Bundle
    analyzer: FaceAnalyzer
    references: PreparedReferences | None
    identity: IdentityEmbedding | None
    options: RestoreOptions
    runtime: Runtime
    mask: Path | None
    seconds: float  # that reading all this took

    def restore(self, picture: Path) -> Restoration:
        """Restore one file."""
        from ..restoration import restore_image

        mask = common.read(self.mask).mean(1, keepdim=True) if self.mask else None
        return restore_image(
            self.bundle,
            common.read(picture),
            self.references,
            self.options,
            self.identity,
            self.runtime,
            self.analyzer,
            mask,
        )


def run(args: argparse.Namespace) -> int:
    """Restore; 0 done, 1 some pictures of a folder failed."""
    options = options_of(args)
    if not args.references and not args.identity:
        raise ArgumentError("--references", "not given", "name photos of the person, or a fitted --identity")
    pictures, folder = common.pictures_in(args.picture), Path(args.picture).is_dir()
    for name in ("crop", "mask"):
        if folder and getattr(args, name):
            raise ArgumentError(f"--{name}", getattr(args, name), "use it with one picture, not with a folder")
    outputs = output_names(Path(args.picture), pictures, args.output)
    for path in [*outputs, *([Path(args.crop)] if args.crop else [])]:
        common.check_picture(path)
    if not folder:
        _one(args, _load(args, options, common.runtime_of(args)), pictures[0], outputs[0])
        return 0
    with Spread(args.device) as spread:
        args.device = spread.device
        work = _load(args, options, common.runtime_of(args))
        failures = _many(args, work, spread.share(list(zip(pictures, outputs, strict=True))))
        return spread.finish(failures, len(pictures))


def output_names(source: Path, pictures: Sequence[Path], output: str | None) -> list[Path]:
    """One output file per picture; for a folder they carry the pictures' names with the ending .png.

    Two pictures that differ in the ending only keep it: a.jpg.png, a.tif.png.
    """
    if not source.is_dir():
        default = source.with_name(f"{source.stem}_restored.png")
        path = Path(output) if output else default
        return [path / default.name if path.is_dir() else path]
    folder = Path(output) if output else source.with_name(f"{source.name}_restored")
    stems = [picture.stem for picture in pictures]
    return [folder / f"{p.stem if stems.count(p.stem) == 1 else p.name}.png" for p in pictures]


def _load(args: argparse.Namespace, options: RestoreOptions, runtime: Runtime) -> _Work:
    from ..identity.embedding import IdentityEmbedding
    from ..restoration import known_identity

    began = time.perf_counter()
    bundle = common.bundle_of(args, runtime)
    analyzer = common.analyzer_of(args, bundle, runtime)
    identity = IdentityEmbedding.load(args.identity) if args.identity else None
    if identity is not None:
        known_identity(bundle, None, identity)
    references = common.read_references(args.references, bundle, analyzer, runtime) if args.references else None
    return _Work(
        bundle=bundle,
        analyzer=analyzer,
        references=references,
        identity=identity,
        options=options,
        runtime=runtime,
        mask=Path(args.mask) if args.mask else None,
        seconds=time.perf_counter() - began,
    )


def _one(args: argparse.Namespace, work: _Work, picture: Path, output: Path) -> None:
    from ..images import write_image

    result = work.restore(picture)
    write_image(output, result.image)
    if args.crop:
        write_image(Path(args.crop), result.crop)
    tell = _as_json if args.json else _in_words
    print(tell(picture, output, result, work.seconds), flush=True)


def _many(args: argparse.Namespace, work: _Work, jobs: Sequence[tuple[Path, Path]]) -> list[str]:
    """Restore one by one; a picture that fails is named with its error and the rest goes on."""
    failures = []
    for picture, output in jobs:
        try:
            _one(args, work, picture, output)
        except IDFSRError as error:
            said = str(error)
            failures.append(said if str(picture) in said else f"{picture}: {said}")
            print(f"failed: {failures[-1]}", file=sys.stderr, flush=True)
    return failures


def _as_json(picture: Path, output: Path, result: Restoration, loading: float) -> str:
    memory = {name: round(value, 1) for name, value in common.peak_memory().items()}
    size = [result.image.shape[-1], result.image.shape[-2]]
    line: dict[str, object] = {
        "picture": str(picture),
        "output": str(output),
        "size": size,
        **result.summary(),
        "peak_mib": memory,
        "loading": round(loading, 3),
    }
    return json.dumps(line | {"options": json.loads(result.options.to_json())})


def _in_words(picture: Path, output: Path, result: Restoration, loading: float) -> str:
    face, identity = result.face, result.identity
    box = " ".join(f"{value:.0f}" for value in face.box)
    seconds = ", ".join(f"{name} {value:.2f} s" for name, value in result.timings.items())
    lines = [
        f"{picture}",
        f"  face        at {box}, {face.width:.0f}x{face.height:.0f} px, score {face.score:.2f}: {result.face_reason}",
        f"  scale       {result.scale:.1f}x to {result.crop.shape[-1]} px; the picture grows {result.enlarged:.2f}x"
        f" to {result.image.shape[-1]}x{result.image.shape[-2]}",
        f"  reference   {result.reference or 'none'}: {result.reference_reason}",
        f"  identity    {identity.kind} from {identity.photos} photo{'s' * (identity.photos != 1)}; similarity"
        f" {result.similarity_before:.2f} before, {result.similarity_after:.2f} after"
        f" (by {identity.encoder}, which the model was trained with)",
        f"  time        {sum(result.timings.values()):.2f} s ({seconds}) after {loading:.2f} s for weights and"
        f" references; peak memory {common.memory_line()}",
        *(f"  note        {warning}" for warning in result.warnings),
        f"  written     {output}",
    ]
    return "\n".join(lines)

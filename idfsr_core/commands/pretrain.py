"""Train the networks of a bundle: denoiser (stage 1 of the method), analyzer, encoder and match, and join them.

Faces come from an archive (a folder with index.jsonl and tar files of aligned 192 px crops) or, for the denoiser, from
a folder with one folder of photos per person; for faces of 256 or 512 px only from the latter. Every training writes
checkpoints, a log (CSV) and, for the denoiser, sample sheets (PNG) into --output; started again with the same --output
it goes on where it stopped. `pretrain bundle` joins the results. docs/PRETRAINING.md explains all of it.

examples:
  python -m idfsr_core pretrain denoiser --data faces/ --output runs/denoiser --steps 4000 --batch 16
  accelerate launch -m idfsr_core pretrain denoiser --data photos/ --output runs/denoiser --config 256 --workers 4
  python -m idfsr_core pretrain denoiser --data faces/ --output runs/paper --config paper
  python -m idfsr_core pretrain encoder --data faces/ --teacher packs/edge_xs --output runs/encoder
  python -m idfsr_core pretrain encoder --data faces/ --teacher edgeface_xs.safetensors --output runs/encoder
  python -m idfsr_core pretrain analyzer --data faces/ --scenes scenes/ --teacher pfld.onnx --output runs/analyzer
  python -m idfsr_core pretrain match --data faces/ --teacher packs/edge_xs --output runs/match
  python -m idfsr_core pretrain archive --data photos/ --output faces/
  python -m idfsr_core pretrain bundle runs/denoiser runs/encoder/encoder-training.safetensors \\
      runs/analyzer/analyzer.safetensors --output new.safetensors --card card.json
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ArgumentError, FileFormatError
from . import common

if TYPE_CHECKING:
    import numpy as np
    from accelerate import PartialState

    from ..bundle import Bundle, ModelCard
    from ..pretraining.data import FaceLibrary
    from ..pretraining.encoder_data import Teacher
    from ..pretraining.losses import EncoderLoss
    from ..pretraining.recipes import Recipe
    from ..runtime import Runtime


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One sub-command per part, and one that joins them."""
    parts = parser.add_subparsers(metavar="PART", required=True, dest="part")
    _add_denoiser(_training(parts, "denoiser", "the diffusion network"))
    _add_encoder(_training(parts, "encoder", "the identity encoder, by another encoder", steps=12000, batch=8))
    _add_analyzer(_training(parts, "analyzer", "the face finder and its landmarks", steps=3000, batch=32))
    _add_match(_training(parts, "match", "the choice among a person's photos", steps=2400, batch=256))
    _add_archive(parts)
    what = "join trained parts into one bundle; where two hold a part, the later one counts"
    join = parts.add_parser("bundle", help=what, description=what.capitalize() + ".")
    join.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="bundles, a denoiser's run folder, encoder-training.safetensors, analyzer.safetensors",
    )
    join.add_argument("--output", metavar="FILE", required=True, help="bundle to write, *.safetensors")
    join.add_argument("--card", metavar="JSON", help="file with the model card: name, data, metrics, training, notes")


def _add_archive(parts) -> None:
    what = "make a folder of photos per person an archive of 192 px crops, as encoder, analyzer and evaluate read it"
    parser = parts.add_parser("archive", help=what, description=what.capitalize() + ".")
    parser.add_argument("--data", metavar="FOLDER", required=True, help="one folder of photos per person")
    parser.add_argument("--output", metavar="FOLDER", required=True, help="where to write index.jsonl and tar files")
    parser.add_argument("--split", default="train", choices=("train", "val"), help="of all its people (default: train)")
    parser.add_argument("--bundle", metavar="FILE", help="whose analyzer finds the faces (default: the shipped one)")


def _training(
    parts, name: str, what: str, *, steps: int | None = None, batch: int | None = None
) -> argparse.ArgumentParser:
    """What all trainings take; steps and batch of None are a recipe's."""
    parser = parts.add_parser(name, help=f"train {what}", description=f"Train {what}. See `pretrain --help` too.")
    parser.add_argument("--data", metavar="FOLDER", required=True, help="the faces")
    parser.add_argument("--output", metavar="DIR", required=True, help="checkpoints, log and the trained part")
    parser.add_argument(
        "--steps", type=int, default=steps, metavar="N", help=f"updates in all (default: {_usual(steps)})"
    )
    parser.add_argument(
        "--batch", type=int, default=batch, metavar="N", help=f"faces per update (default: {_usual(batch)})"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of weights and draws (default: 0)")
    return parser


def _usual(value: int | None) -> str:
    return "the recipe's" if value is None else str(value)


def _add_denoiser(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    text = "recipe by name (compact, 256, 512, paper, ablations: see idfsr_core/pretraining/configs) or .json file"
    add("--config", default="compact", metavar="NAME", help=f"{text} (default: compact)")
    add("--rate", type=float, metavar="R", help="highest learning rate (default: the recipe's)")
    add("--minutes", type=float, metavar="M", help="stop after so long, with a checkpoint (default: never)")
    add("--precision", choices=("no", "bf16", "fp16"), default="bf16", help="mixed precision (default: bf16)")
    add("--workers", type=int, default=1, metavar="N", help="processes that draw batches (default: 1)")
    text = "EdgeFace-XS state dict: adds identity and feature losses; needs timm (default: pixel losses alone)"
    add("--identity-weights", metavar="FILE", help=text)
    text = "keeps cut-out photos and what networks say of them, for other runs too (default: OUTPUT/cache)"
    add("--cache", metavar="DIR", help=text)
    add("--bundle", metavar="FILE", help="whose analyzer and encoder annotate the faces (default: the shipped one)")


def _add_encoder(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    text = "insightface pack, whose embeddings are learned, or EdgeFace-XS state dict, whose features are too (timm)"
    add("--teacher", metavar="PATH", required=True, help=text)
    add("--rate", type=float, default=2e-3, metavar="R", help="highest learning rate (default: 2e-3)")
    add("--minutes", type=float, metavar="M", help="time takes the place of steps (default: never)")
    _add_machine(parser)


def _add_analyzer(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--scenes", metavar="FOLDER", required=True, help="whole photos with index.jsonl of their faces")
    add("--teacher", metavar="FILE", required=True, help="ONNX model of 68 landmarks")
    add("--pack", metavar="FOLDER", help="insightface pack that looks for faces which the index does not list")
    add("--landmark-steps", type=int, default=2000, metavar="N", help="updates of the landmarks (default: 2000)")
    text = "updates of the network for pictures that are nothing but a face (default: 14000)"
    add("--filling-steps", type=int, default=14000, metavar="N", help=text)
    _add_machine(parser)


def _add_match(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    text = "insightface pack or EdgeFace-XS state dict (timm), whose cosine says how near a photo is to the truth"
    add("--teacher", metavar="PATH", required=True, help=text)
    add("--bundle", metavar="FILE", help="whose encoder looks at the photos (default: the shipped one)")
    _add_machine(parser)


def _add_machine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:1, mps (default: the fastest there is)")
    precisions = ("float32", "bfloat16", "float16")
    parser.add_argument("--dtype", choices=precisions, help="compute precision (default: what the device does well)")


def run(args: argparse.Namespace) -> int:
    """Train one part, or join parts."""
    if args.part == "bundle":
        return _join(args)
    common.check_writable(Path(args.output))
    trainings = {"denoiser": _denoiser, "encoder": _encoder, "analyzer": _analyzer, "match": _match}
    return (trainings | {"archive": _archive})[args.part](args)


def _archive(args: argparse.Namespace) -> int:
    from ..bundle import load_bundle
    from ..pretraining.data import write_archive

    if (Path(args.data) / "index.jsonl").is_file():
        raise ArgumentError("--data", args.data, "it is an archive already; name a folder with one folder per person")
    library = library_of(args.data, load_bundle(args.bundle))
    index = write_archive(Path(args.output), library, args.split)
    for reason in library.left_out:
        print(f"photos left out: {reason}")
    print(f"{index}: {len(library)} photos of {len(library.names)} people, split {args.split}")
    return 0


def _join(args: argparse.Namespace) -> int:
    from ..pretraining.export import export_bundle

    common.check_writable(Path(args.output).parent)
    path = export_bundle(args.output, args.sources, _card(args.card))
    print(f"{path}: {path.stat().st_size / 1024**2:.1f} MiB")
    return 0


def _card(path: str | None) -> ModelCard | None:
    if path is None:
        return None
    from ..bundle import ModelCard

    try:
        return ModelCard.from_dict(json.loads(Path(path).read_text()))
    except (OSError, ValueError, AttributeError) as error:
        raise FileFormatError(f"model card {path}", error, "give a JSON object") from error


def library_of(data: str, bundle: Bundle, size: int = 128, cache: Path | None = None) -> FaceLibrary:
    """The training photos of ``--data``: an archive's "train" split, or a folder per person, cut out for ``size``."""
    from ..pretraining.data import read_archive
    from ..pretraining.folders import read_folders
    from ..references import largest_face

    folder = Path(data)
    if (folder / "index.jsonl").is_file():
        library = read_archive(folder, "train")
        if library.size < size:
            value = f"{folder}, an archive for {library.size} px, and the recipe is for {size}"
            raise ArgumentError("--data", value, "give a folder with one folder of larger photos per person")
        return library
    if not folder.is_dir():
        raise ArgumentError("--data", folder, "name a folder with index.jsonl, or with one folder of photos per person")

    def keypoints(image):
        face = largest_face(bundle.analyzer.analyze(image))
        return None if face is None else face.keypoints

    return read_folders(folder, keypoints, size, cache, f"bundle {bundle.hash}")


def _denoiser(args: argparse.Namespace) -> int:
    # First of all: beside a CPU build of torch, torchvision imports only after EdgeFace's module has declared its
    # operators, and diffusers stumbles over a torchvision that does not import.
    loss = _identity_loss(args.identity_weights)
    from ..bundle import load_bundle
    from ..pretraining.batches import BatchMaker
    from ..pretraining.export import export_bundle
    from ..pretraining.loop import PretrainSettings, pretrain

    recipe = recipe_of(args)
    settings = PretrainSettings(
        output=Path(args.output),
        **asdict(recipe.training),
        losses=recipe.losses,
        seed=args.seed,
        precision=args.precision,
        workers=args.workers,
        minutes=args.minutes,
    )
    processes = _processes()
    with processes.local_main_process_first():  # the others find its cache
        bundle = load_bundle(args.bundle, str(processes.device))
        library, aims = _prepared(args, recipe, loss, bundle)
    for reason in library.left_out if processes.is_main_process else ():
        print(f"photos left out: {reason}", flush=True)
    config = replace(recipe.denoiser, identity_dim=bundle.encoder.dim)
    maker = BatchMaker(library, replace(recipe.batches, size=config.size), args.seed, aims)
    pretrain(config, maker, settings, loss, bundle.judge)
    if processes.is_main_process:
        path = export_bundle(settings.output / "denoiser.safetensors", [settings.output])
        print(f"{path}: trained on {len(library)} photos of {len(library.names)} people")
    processes.destroy_process_group()  # its threads, still running when a process ends, may abort it
    return 0


def _processes() -> PartialState:
    """This process among those that ``accelerate launch`` started; one alone is the main one."""
    import torch
    from accelerate import PartialState

    # Cutting out and annotating takes hours where photos are many, and the others wait for it.
    return PartialState(cpu=not torch.cuda.is_available(), timeout=timedelta(days=2))


def _prepared(
    args: argparse.Namespace, recipe: Recipe, loss: EncoderLoss | None, bundle: Bundle
) -> tuple[FaceLibrary, np.ndarray | None]:
    """The photos with all that networks say of them, and the aims of the identity loss."""
    cache = Path(args.cache) if args.cache else Path(args.output) / "cache"
    found = library_of(args.data, bundle, recipe.denoiser.size, cache)
    library = annotated(found, bundle, cache)
    aims = None
    if loss:
        aims = library.embedded(loss.to(bundle.device).embed, label=f"loss {loss.encoder.hash}", cache=cache)
    return library, aims


def annotated(library: FaceLibrary, bundle: Bundle, cache: Path) -> FaceLibrary:
    """The library with landmarks and embeddings by the bundle's networks; kept in ``cache``."""
    return library.annotated(
        bundle.analyzer.crop_landmarks,
        lambda images, points: bundle.encoder.embed(images.to(bundle.device), points.to(bundle.device)).vectors,
        f"bundle {bundle.hash}",
        cache,
    )


def recipe_of(args: argparse.Namespace) -> Recipe:
    """The recipe named by ``--config``, with what else the command line says."""
    from ..pretraining.recipes import read_recipe

    recipe = read_recipe(args.config)
    said = {"steps": args.steps, "learning_rate": args.rate}
    training = replace(recipe.training, **{name: value for name, value in said.items() if value is not None})
    batches = recipe.batches if args.batch is None else replace(recipe.batches, batch=args.batch)
    return replace(recipe, training=training, batches=batches)


def _identity_loss(weights: str | None) -> EncoderLoss | None:
    if weights is None:
        return None
    from ..identity.edgeface import EdgeFaceTorch
    from ..pretraining.losses import EncoderLoss

    return EncoderLoss(EdgeFaceTorch(weights))


def _encoder(args: argparse.Namespace) -> int:
    runtime = common.runtime_of(args)
    teacher = _teacher(args.teacher, runtime)
    from ..identity.network import EncoderConfig
    from ..pretraining.data import read_archive
    from ..pretraining.encoder import EncoderSettings, train_encoder
    from ..pretraining.encoder_data import collect

    photos = collect(read_archive(Path(args.data), "train"), teacher)
    settings = EncoderSettings(
        config=EncoderConfig(dim=photos.targets.shape[1]),
        batch=args.batch,
        steps=args.steps,
        minutes=args.minutes,
        rate=args.rate,
        seed=args.seed,
    )
    print(train_encoder(settings, photos, Path(args.output), teacher=teacher, runtime=runtime))
    return 0


def _teacher(path: str, runtime: Runtime) -> Teacher:
    """A file is EdgeFace-XS with its features, a folder a pack with an ONNX model."""
    if not Path(path).is_file():
        from ..identity.insight import InsightFaceEncoder

        return InsightFaceEncoder(path, runtime)
    from ..identity.edgeface import EdgeFaceTorch
    from ..pretraining.encoder_teacher import EdgeFaceTeacher

    return EdgeFaceTeacher(EdgeFaceTorch(path).to(runtime.device))


def _analyzer(args: argparse.Namespace) -> int:
    from ..pretraining.analyzer import AnalyzerSettings, train_analyzer

    settings = AnalyzerSettings(
        faces=Path(args.data),
        scenes=Path(args.scenes),
        teacher=Path(args.teacher),
        output=Path(args.output),
        pack=Path(args.pack) if args.pack else None,
        landmark_steps=args.landmark_steps,
        filling_steps=args.filling_steps,
        detector_steps=args.steps,
        detector_batch=args.batch,
        seed=args.seed,
    )
    train_analyzer(settings, common.runtime_of(args))
    print(settings.output / "analyzer.safetensors")
    return 0


def _match(args: argparse.Namespace) -> int:
    runtime = common.runtime_of(args)
    teacher = _teacher(args.teacher, runtime)
    import torch

    from ..bundle import load_bundle, save_bundle
    from ..identity.aligning import align_faces
    from ..pretraining.photo_match import MatchSettings, chosen, collect_looks, draw_sets, train_match

    def vectors(images, points):
        faces = (align_faces(images, points).permute(0, 2, 3, 1) * 255).round().byte()
        return torch.from_numpy(teacher.embed_aligned(faces.cpu().numpy()))

    bundle, output = load_bundle(args.bundle, runtime.device), Path(args.output)
    library = annotated(library_of(args.data, bundle), bundle, output / "cache")
    aims = library.embedded(vectors, label=f"teacher {args.teacher}", cache=output / "cache")
    looks = collect_looks(library, bundle.encoder, args.seed, runtime)
    sets = draw_sets(library, aims, looks, args.seed)
    settings = MatchSettings(steps=args.steps, batch=args.batch, seed=args.seed)
    match = train_match(sets, looks, settings, runtime)
    for side in looks.small:
        before, after = (float(chosen(sets, looks, each, side).mean()) for each in (None, match))
        print(f"{side} px: cosine of the face with the chosen photo {before:.4f} -> {after:.4f}, of these people")
    print(save_bundle(output / "match.safetensors", {"match": match}))
    return 0

"""Train the networks of a bundle: denoiser (stage 1 of the method), analyzer or encoder, and put them into one file.

--data is an archive (a folder with index.jsonl and tar files of aligned 192 px crops) or a folder with one folder of
photos per person. Every training writes checkpoints, a log (CSV) and, for the denoiser, sample sheets (PNG) into
--output; started again with the same --output it goes on where it stopped. At the end a bundle with the one trained
part lies there, for `pretrain bundle`.

examples:
  python -m idfsr_core pretrain denoiser --data faces/ --output runs/denoiser --steps 4000 --batch 16
  accelerate launch -m idfsr_core pretrain denoiser --data faces/ --output runs/denoiser --workers 4
  python -m idfsr_core pretrain denoiser --data faces/ --output runs/paper --start noise
  python -m idfsr_core pretrain encoder --data faces/ --teacher weights/insightface/models/edge_xs --output runs/encoder
  python -m idfsr_core pretrain analyzer --data faces/ --output runs/analyzer
  python -m idfsr_core pretrain bundle runs/encoder/encoder.safetensors runs/denoiser --output new.safetensors
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ArgumentError, FileFormatError
from . import common

if TYPE_CHECKING:
    from ..bundle import Bundle, ModelCard
    from ..pretraining.data import FaceLibrary


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One sub-command per part, and one that joins them."""
    parts = parser.add_subparsers(metavar="PART", required=True, dest="part")
    denoiser = _training(parts, "denoiser", "the diffusion network", steps=4000, batch=16, rate=2e-4)
    denoiser.add_argument(
        "--start",
        choices=("composite", "noise"),
        default="composite",
        help="where sampling begins: ours, or the paper's pure noise (default: composite)",
    )
    denoiser.add_argument(
        "--precision", choices=("no", "bf16", "fp16"), default="bf16", help="mixed precision (default: bf16)"
    )
    denoiser.add_argument(
        "--identity-weights",
        metavar="FILE",
        help="EdgeFace-XS state dict: adds identity and feature losses (needs timm; default: pixel losses alone)",
    )
    denoiser.add_argument(
        "--workers", type=int, default=1, metavar="N", help="processes that draw batches (default: 1)"
    )
    denoiser.add_argument("--bundle", metavar="FILE", help="whose analyzer and encoder annotate the photos")
    encoder = _training(
        parts, "encoder", "the identity encoder, taught by another one", steps=5000, batch=64, rate=2e-3
    )
    encoder.add_argument("--teacher", metavar="FOLDER", required=True, help="insightface pack that embeds the photos")
    encoder.add_argument("--bundle", metavar="FILE", help="whose analyzer finds faces in a folder per person")
    join = parts.add_parser(
        "bundle", help="join trained parts into one bundle; where two hold a part, the later one counts"
    )
    join.add_argument("sources", nargs="+", metavar="FILE", help="bundles, whole or with one part")
    join.add_argument("--output", metavar="FILE", required=True, help="bundle to write, *.safetensors")
    join.add_argument(
        "--card", metavar="JSON", help="file with fields of the model card: name, data, metrics, training, notes"
    )


def _training(parts, name: str, what: str, *, steps: int, batch: int, rate: float) -> argparse.ArgumentParser:
    parser = parts.add_parser(name, help=f"train {what}", description=f"Train {what}; see `pretrain --help`.")
    parser.add_argument("--data", metavar="FOLDER", required=True, help="archive, or one folder of photos per person")
    parser.add_argument("--output", metavar="DIR", required=True, help="checkpoints, log and the trained part")
    parser.add_argument("--steps", type=int, default=steps, metavar="N", help=f"updates in all (default: {steps})")
    parser.add_argument(
        "--batch", type=int, default=batch, metavar="N", help=f"faces per process and update (default: {batch})"
    )
    parser.add_argument(
        "--rate", type=float, default=rate, metavar="R", help=f"highest learning rate (default: {rate:g})"
    )
    parser.add_argument(
        "--minutes", type=float, metavar="M", help="stop after so long, with a checkpoint (default: never)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of weights and draws (default: 0)")
    return parser


def run(args: argparse.Namespace) -> int:
    """Train one part, or join parts."""
    if args.part == "bundle":
        return _join(args)
    common.check_writable(Path(args.output))
    return {"denoiser": _denoiser, "encoder": _encoder}[args.part](args)


def _join(args: argparse.Namespace) -> int:
    from ..bundle import merge_bundles

    path = merge_bundles(args.output, args.sources, _card(args.card))
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


def library_of(args: argparse.Namespace, bundle: Bundle) -> FaceLibrary:
    """The training photos named by ``--data``: an archive's "train" split, or a folder per person."""
    from ..pretraining.data import read_archive, read_folders
    from ..references import largest_face

    folder = Path(args.data)
    if (folder / "index.jsonl").is_file():
        return read_archive(folder, "train")
    if not folder.is_dir():
        raise ArgumentError("--data", folder, "name a folder with index.jsonl, or with one folder of photos per person")

    def keypoints(image):
        face = largest_face(bundle.analyzer.analyze(image))
        return None if face is None else face.keypoints

    return read_folders(folder, keypoints)


def _denoiser(args: argparse.Namespace) -> int:
    from ..bundle import ModelCard, load_bundle, save_bundle
    from ..diffusion.config import DenoiserConfig
    from ..diffusion.denoiser import Denoiser
    from ..pretraining.batches import BatchMaker, BatchSettings
    from ..pretraining.loop import PretrainSettings, pretrain

    bundle, output = load_bundle(args.bundle), Path(args.output)
    library = library_of(args, bundle).annotated(
        bundle.analyzer.crop_landmarks,
        lambda images, points: bundle.encoder.embed(images, points).vectors,
        f"compact {bundle.hash}",
        output / "cache",
    )
    config = DenoiserConfig(
        start=args.start,
        start_noise=1.0 if args.start == "noise" else DenoiserConfig().start_noise,
        identity_dim=bundle.encoder.dim,
    )
    settings = PretrainSettings(
        output=output,
        steps=args.steps,
        learning_rate=args.rate,
        seed=args.seed,
        precision=args.precision,
        workers=args.workers,
        minutes=args.minutes,
    )
    maker = BatchMaker(library, BatchSettings(size=config.size, batch=args.batch), args.seed)
    weights = pretrain(config, maker, settings, _identity_loss(args.identity_weights))
    denoiser = Denoiser(config)
    denoiser.load_state_dict(weights)
    training = {"photos": len(library), "steps": args.steps, "batch": args.batch, "seed": args.seed}
    path = save_bundle(
        output / "denoiser.safetensors", {"denoiser": denoiser}, ModelCard(training={"denoiser": training})
    )
    print(f"{path}: trained on {len(library)} photos of {len(library.names)} people")
    return 0


def _identity_loss(weights: str | None):
    if weights is None:
        return None
    from ..identity.edgeface import EdgeFaceTorch
    from ..pretraining.losses import EncoderLoss

    return EncoderLoss(EdgeFaceTorch(weights))


def _encoder(args: argparse.Namespace) -> int:
    raise NotImplementedError

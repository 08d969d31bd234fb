"""Fit an identity to a person: freeze the restorer and learn the one vector that rebuilds the person's photos best.

Starts from the pooled identity of `encode`, stays near it, and works with 1 to 20 photos. With four or more, one photo
is kept out; the vector is then never worse than the start on that photo. Ctrl-C keeps the best so far.

examples:
  python -m idfsr_core fit photos/anna --output anna.safetensors
  python -m idfsr_core fit photos/anna --output anna.safetensors --steps 80 --seed 1
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from . import common

if TYPE_CHECKING:
    from ..fitting import FittingResult


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Photos, the file to write, the length of the fit, the model."""
    parser.add_argument("references", metavar="PHOTO|FOLDER", nargs="+", help="photos of one person, 1 to 20")
    parser.add_argument("--output", metavar="FILE", required=True, help="identity file to write, *.safetensors")
    parser.add_argument("--identity", metavar="FILE", help="where to start (default: the photos' pooled identity)")
    parser.add_argument("--steps", type=int, default=60, metavar="1..2000", help="steps at most (default: 60)")
    parser.add_argument("--rate", type=float, default=0.003, metavar="R", help="learning rate (default: 0.003)")
    parser.add_argument("--pull", type=float, default=0.05, metavar="0..100", help="pull to the start (default: 0.05)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of all draws (default: 0)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of sentences")
    common.add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Prepare the photos, fit, save, say what was gained."""
    from ..fitting import FittingSettings, fit_identity
    from ..identity.embedding import IdentityEmbedding
    from ..restoration import known_identity

    settings = FittingSettings(steps=args.steps, learning_rate=args.rate, pull=args.pull, seed=args.seed)
    interrupted = common.Interrupt()
    runtime = replace(common.runtime_of(args), cancelled=interrupted.asked)
    bundle = common.bundle_of(args, runtime)
    common.check_writable(Path(args.output).parent)
    start = IdentityEmbedding.load(Path(args.identity)) if args.identity else None
    if start is not None:
        known_identity(bundle, None, start)
    references = common.read_references(args.references, bundle, common.analyzer_of(args, bundle, runtime), runtime)
    with interrupted:
        result = fit_identity(
            bundle.denoiser, bundle.encoder, start or references.identity, references.photos, settings, runtime
        )
    result.identity.save(Path(args.output))
    print(_as_json(args.output, result) if args.json else _in_words(args.output, result, references.notes))
    return 0


def _as_json(output: str, result: FittingResult) -> str:
    said = {name: getattr(result, name) for name in ("kept_out", "best_step", "steps", "stopped")}
    return json.dumps({"output": output, **said, "curve": [asdict(point) for point in result.curve]})


def _in_words(output: str, result: FittingResult, notes: tuple[str, ...]) -> str:
    lines = [f"  note: {note}" for note in notes]
    for point in result.curve:
        loss = f"loss {point.loss:.4f}" if point.loss is not None else "start"
        kept = f", similarity on the photo kept out {point.similarity:.4f}" if point.similarity is not None else ""
        lines.append(f"  step {point.step}: {loss}{kept}")
    kept = f"{result.kept_out} was kept out" if result.kept_out else "no photo kept out (that takes four or more)"
    lines.append(f"{output}: {result.steps} steps ({result.stopped}); the vector of step {result.best_step}; {kept}")
    return "\n".join(lines)

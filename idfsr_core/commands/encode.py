"""Turn photos of one person into an identity file: one vector that `restore --identity` reads.

The largest face of each photo is embedded; photos are weighted by their quality, a stranger among them is left out and
named. For a vector that is also fitted to the person with the restorer itself, use `fit`.

examples:
  python -m idfsr_core encode photos/anna --output anna.safetensors
  python -m idfsr_core encode a.jpg b.jpg c.jpg --output anna.safetensors --json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from . import common


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Photos, the file to write, the model."""
    parser.add_argument("references", metavar="PHOTO|FOLDER", nargs="+", help="photos of one person, 1 to 20 or more")
    parser.add_argument("--output", metavar="FILE", required=True, help="identity file to write, *.safetensors")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of sentences")
    common.add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Prepare, pool, save, say what was done."""
    runtime = common.runtime_of(args)
    bundle = common.bundle_of(args, runtime)
    common.check_writable(Path(args.output).parent)
    references = common.read_references(args.references, bundle, common.analyzer_of(args, bundle, runtime), runtime)
    identity = references.identity
    identity.save(Path(args.output))
    photos = {photo.name: round(photo.quality, 3) for photo in references.photos}
    if args.json:
        said = {"output": args.output, "kind": identity.kind, "encoder": identity.encoder}
        print(json.dumps(said | {"quality": photos, "notes": references.notes}))
        return 0
    for name, quality in photos.items():
        print(f"  {name}: quality {quality:.2f}")
    for note in references.notes:
        print(f"  {note}")
    count = f"{identity.photos} photo" + "s" * (identity.photos != 1)
    print(f"{args.output}: {identity.kind} from {count} by {identity.encoder}")
    return 0

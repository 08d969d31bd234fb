"""Measure on people never seen: restoration against simpler methods and ceilings, the face finder, the encoder.

`evaluate faces` (the default) restores one photo of each person from four others, at 8x, 16x and 32x, with landmarks
found in the small picture and with true ones, and compares: bicubic, the composite with a random and with the best
reference, ours with pooled identity, with fitted identity (--fit), with one reference, with another person's identity,
and the paper's form (--paper). Every set of figures is written into --output as soon as it is there; started again with
the same --output it goes on where it stopped. At the end report.json, report.md and contact sheets (PNG) lie there.
`evaluate analyzer` and `evaluate encoder` measure the bundle's face finder and identity encoder in the same way.
`evaluate study NAME` measures one table: what a number of steps, guidance, references, landmark error, ... are worth.
Studies are files (idfsr_core/evaluation/studies, or JSON files of your own); without a name they are listed. Each
writes NAME.json into --output; what --people, --scales and --landmarks say goes before what the file says.

examples:
  python -m idfsr_core evaluate --output runs/evaluation
  python -m idfsr_core evaluate --bundle new.safetensors --people 16 --scales 16 --methods composite_best pooled
  python -m idfsr_core evaluate --fit --people 16 --paper paper.safetensors --output runs/evaluation
  python -m idfsr_core evaluate analyzer encoder --output runs/evaluation
  python -m idfsr_core evaluate study forwards guidance --output runs/studies
  python -m idfsr_core evaluate study recipes --runs runs/recipes --output runs/studies
  python -m idfsr_core evaluate --report docs/RESULTS.md        # renew the tables of that page, measure nothing
"""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ArgumentError
from . import common

if TYPE_CHECKING:
    from ..bundle import Bundle
    from ..evaluation.harness import Study
    from ..evaluation.opening import Sources
    from ..evaluation.protocol import EvaluationSettings
    from ..evaluation.study_plan import StudyPlan
    from ..evaluation.study_run import Workplace
    from ..identity.encoders import IdentityEncoder
    from ..options import RestoreOptions
    from ..runtime import Runtime

WHAT = ("faces", "analyzer", "encoder")
STUDY = "study"
STUDY_ENCODERS = 2  # of the measuring ones, where none are named


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is measured, on whom, with what."""
    text = f"any of {', '.join(WHAT)} (default: faces), or {STUDY} and the names of studies"
    parser.add_argument("what", nargs="*", metavar="WHAT", help=text)
    parser.add_argument(
        "--output", metavar="FOLDER", default="evaluation", help="figures and sheets (default: %(default)s)"
    )
    parser.add_argument("--report", metavar="PAGE", help="renew the tables of this Markdown page and do nothing else")
    common.add_model_arguments(parser)
    _add_people(parser)
    _add_restoring(parser)


def _add_people(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("people and measures")
    group.add_argument("--faces", metavar="FOLDER", help="archive with index.jsonl (default: ../shared/data/faces)")
    group.add_argument("--weights", metavar="FOLDER", help="measuring models (default: ../shared/weights)")
    group.add_argument("--split", default="val", help="of the archive (default: val)")
    group.add_argument("--people", type=int, metavar="N", help="at most so many (default: 64)")
    group.add_argument("--references", type=int, metavar="N", help="photos of each person (default: 4)")
    group.add_argument("--seed", type=int, default=0, metavar="N", help="of photos, boxes and noise (default: 0)")
    group.add_argument("--scales", type=int, nargs="+", metavar="S", help="default: 8 16 32")
    group.add_argument("--landmarks", choices=("found", "true", "both"), help="default: both")
    group.add_argument("--methods", nargs="+", default=[], metavar="NAME", help="default: all that the bundles allow")
    group.add_argument(
        "--encoders",
        nargs="+",
        metavar="NAME",
        help="that measure: mbf_y1, mobileface_v2, edge_xs or a path; first is main",
    )
    group.add_argument("--degradation", choices=("area", "bicubic", "blind"), default="area", help="default: area")
    group.add_argument(
        "--runs", metavar="FOLDER", help="trainings for the studies that compare them: run folders, bundles"
    )
    group.add_argument("--sheet", type=int, default=12, metavar="N", help="people on a sheet, 0: none (default: 12)")


def _add_restoring(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("restoring")
    group.add_argument("--steps", type=int, metavar="N", help="denoising steps (default: that of `restore`)")
    group.add_argument(
        "--options", metavar="JSON", default="{}", help='other options of `restore`: {"mask_grow": 0.05}'
    )
    group.add_argument("--batch", type=int, default=16, metavar="N", help="faces at once (default: 16)")
    group.add_argument(
        "--encoder", metavar="NAME", help="identity encoder, where it is not the bundle's: a name as above"
    )
    group.add_argument("--paper", metavar="FILE", help="bundle with the paper's form, for comparison")
    group.add_argument("--paper-steps", type=int, default=25, metavar="N", help="its denoising steps (default: 25)")
    group.add_argument("--paper-encoder", metavar="NAME", help="its identity encoder, where it is not that bundle's")
    group.add_argument("--fit", action="store_true", help="also with fitted identities: about a minute per person")
    group.add_argument("--fit-steps", type=int, default=60, metavar="N", help="of a fit at most (default: 60)")
    group.add_argument("--fit-photos", type=int, default=4, metavar="N", help="photos of a fit (default: 4)")


def run(args: argparse.Namespace) -> int:
    """Measure, or renew a page."""
    if args.report:
        from ..evaluation.results_page import update_page

        names = update_page(Path(args.report))
        print(f"{args.report}: tables of {', '.join(names)}")
        return 0
    if args.what[:1] == [STUDY]:
        return _studies(args)
    unknown = [what for what in args.what if what not in WHAT]
    if unknown:
        raise ArgumentError("WHAT", ", ".join(unknown), f"use any of {', '.join(WHAT)}, or {STUDY} and its name")
    runtime = common.runtime_of(args)
    bundle = common.bundle_of(args, runtime)
    output = Path(args.output)
    common.check_writable(output)
    for what in args.what or ["faces"]:
        _MEASURE[what](args, bundle, output, runtime)
    return 0


def _faces(args: argparse.Namespace, bundle: Bundle, output: Path, runtime: Runtime) -> None:
    from ..evaluation.report import save_markdown

    study = _study(args, bundle, output, runtime)
    people = {"people": len(study.subjects), "references": study.settings.references}
    options = {"options": study.settings.options.to_json()}
    evaluation = study.run(_about(args, bundle) | people | _how(args) | options)
    evaluation.save(output / "report.json")
    save_markdown(evaluation, output / "report.md")
    print(f"{output / 'report.json'}, {output / 'report.md'}")
    if args.sheet:
        from ..evaluation.sheets import save_sheets

        for path in save_sheets(evaluation, study.subjects, output, args.sheet):
            print(path)


def _study(args: argparse.Namespace, bundle: Bundle, output: Path, runtime: Runtime) -> Study:
    from ..bundle import load_bundle
    from ..evaluation.opening import open_study
    from ..fitting import FittingSettings

    sources = _sources(args)
    return open_study(
        _settings(args),
        sources,
        output / "sets",
        runtime,
        bundle=bundle,
        analyzer=common.analyzer_of(args, bundle, runtime) if args.analyzer else None,
        encoder=_encoder(args.encoder, sources, runtime),
        paper=load_bundle(args.paper, runtime.device) if args.paper else None,
        paper_encoder=_encoder(args.paper_encoder, sources, runtime),
        fitting=FittingSettings(steps=args.fit_steps, seed=args.seed) if args.fit else None,
        say=_say,
    )


def _sources(args: argparse.Namespace) -> Sources:
    from ..evaluation.opening import Sources

    shared = Sources.shared()
    return Sources(
        faces=Path(args.faces or shared.faces), weights=Path(args.weights or shared.weights), split=args.split
    )


def _settings(args: argparse.Namespace) -> EvaluationSettings:
    from ..evaluation.protocol import ENCODERS, EvaluationSettings

    return EvaluationSettings(
        seed=args.seed,
        **_people(args),
        methods=tuple(args.methods),
        encoders=tuple(args.encoders or ENCODERS),
        degradation=args.degradation,
        batch=args.batch,
        options=_options(args),
        paper_steps=args.paper_steps,
        fit_photos=args.fit_photos,
    )


def _people(args: argparse.Namespace) -> dict[str, Any]:
    """What the command line says of people, scales and landmarks; what it does not say is left out."""
    from ..evaluation.protocol import LANDMARKS

    landmarks = {"both": LANDMARKS, "found": ("found",), "true": ("true",), None: None}[args.landmarks]
    scales = tuple(args.scales) if args.scales else None
    said = {"people": args.people, "references": args.references, "scales": scales, "landmarks": landmarks}
    return {name: value for name, value in said.items() if value is not None}


def _options(args: argparse.Namespace) -> RestoreOptions:
    from ..options import RestoreOptions

    options = RestoreOptions.from_json(args.options)
    return options if args.steps is None else replace(options, steps=args.steps)


def _encoder(name: str | None, sources: Sources, runtime: Runtime) -> IdentityEncoder | None:
    from ..evaluation.opening import open_encoders

    return next(iter(open_encoders([name], sources.weights, runtime).values())) if name else None


def _about(args: argparse.Namespace, bundle: Bundle) -> dict[str, Any]:
    """How the figures came about, for the head of a report."""
    training = bundle.card.training.get("denoiser", bundle.card.training)
    return {
        "command": shown_command(sys.argv[1:]),
        "date": datetime.now(timezone.utc).date().isoformat(),
        "bundle": f"{bundle.path.name}, SHA-256 {bundle.hash[:16]}",
        "training": ", ".join(f"{name} {value}" for name, value in training.items()) if training else "not said",
    }


def _how(args: argparse.Namespace) -> dict[str, Any]:
    return {"seed": args.seed, "degradation": args.degradation}


def shown_command(arguments: list[str]) -> str:
    """The command as somebody else would type it: of absolute paths only the last part is shown."""
    shown = [Path(each).name if Path(each).is_absolute() else each for each in arguments]
    return f"python -m idfsr_core {shlex.join(shown)}"


def _studies(args: argparse.Namespace) -> int:
    """Measure the studies of these names, or list them."""
    from ..evaluation.study_plan import read_study, study_names
    from ..evaluation.study_run import run_study

    names = args.what[1:]
    if not names:
        for name in study_names():
            print(f"{name}: {read_study(name).about}")
        return 0
    plans = [_said(args, read_study(name)) for name in names]
    runtime = common.runtime_of(args)
    bundle = common.bundle_of(args, runtime)
    output = Path(args.output)
    common.check_writable(output)
    place = _workplace(args, bundle, output, runtime)
    for plan in plans:
        report = run_study(plan, place, _about(args, bundle) | _how(args))
        report.save(output / f"{plan.name}.json")
        print(output / f"{plan.name}.json")
    return 0


def _said(args: argparse.Namespace, plan: StudyPlan) -> StudyPlan:
    """The plan with what the command line says instead; what a study's file alone can say is refused."""
    for name in ("methods", "fit", "paper"):
        if getattr(args, name):
            raise ArgumentError(f"--{name}", "with a study", "say it in a study's file of your own (field vary)")
    if args.references and plan.archive != "faces":
        raise ArgumentError("--references", args.references, f"leave it out: {plan.name} has one photo of each person")
    return replace(plan, **_people(args))


def _workplace(args: argparse.Namespace, bundle: Bundle, output: Path, runtime: Runtime) -> Workplace:
    from ..evaluation.protocol import ENCODERS, EvaluationSettings
    from ..evaluation.study_run import Workplace

    sources = _sources(args)
    return Workplace(
        bundle=bundle,
        sources=sources,
        folder=output / "sets",
        runtime=runtime,
        base=EvaluationSettings(
            seed=args.seed,
            encoders=tuple(args.encoders or ENCODERS[:STUDY_ENCODERS]),
            degradation=args.degradation,
            batch=args.batch,
            options=_options(args),
        ),
        analyzer=common.analyzer_of(args, bundle, runtime) if args.analyzer else None,
        encoder=_encoder(args.encoder, sources, runtime),
        runs=Path(args.runs) if args.runs else None,
        say=_say,
    )


def _analyzer(args: argparse.Namespace, bundle: Bundle, output: Path, runtime: Runtime) -> None:
    from ..evaluation.networks_report import measure_analyzer

    for path in measure_analyzer(bundle, _sources(args), output, runtime, say=_say):
        print(path)


def _identity(args: argparse.Namespace, bundle: Bundle, output: Path, runtime: Runtime) -> None:
    from ..evaluation.networks_report import measure_encoder
    from ..evaluation.protocol import ENCODERS

    names = tuple(args.encoders or ENCODERS)
    for path in measure_encoder(bundle, _sources(args), output, runtime, names=names, say=_say):
        print(path)


def _say(line: str) -> None:
    print(line, flush=True)


_MEASURE = {"faces": _faces, "analyzer": _analyzer, "encoder": _identity}

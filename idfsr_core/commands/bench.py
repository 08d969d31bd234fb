"""Measure speed as ratios within one run: restoring, fitting, warping, each against the bare work in it.

Each pair is measured in turns and the median counts, so that a busy machine slows both alike. Prints a table with the
limits that the project holds, and the peak memory; exit code 1 where a limit is missed.

examples:
  python -m idfsr_core bench
  python -m idfsr_core bench --repeats 15 --json bench.json
  python -m idfsr_core bench --only warp
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from . import common

if TYPE_CHECKING:
    from ..evaluation.bench import Ratio

PARTS = ("restore", "steer", "fit", "warp")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How often, what, the model."""
    parser.add_argument("--repeats", type=int, default=7, metavar="N", help="pairs measured (default: 7)")
    parser.add_argument("--steps", type=int, default=4, metavar="N", help="forwards of a restoration (default: 4)")
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="faces at once (default: 1)")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="default: all")
    parser.add_argument("--json", metavar="FILE", help="also write the figures into this file")
    common.add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Measure, print, judge."""
    from ..evaluation.bench import bench_report, bench_table
    from ..evaluation.results import write_json

    if args.json:
        common.check_writable(Path(args.json).parent)
    runtime = common.runtime_of(args)
    ratios = _ratios(args)
    about = {"device": runtime.device, "dtype": runtime.dtype, "repeats": args.repeats}
    report = bench_report(ratios, common.peak_memory(), about)
    print(bench_table(report))
    if args.json:
        write_json(args.json, report)
    return 0 if all(each.passed for each in ratios) else 1


def _ratios(args: argparse.Namespace) -> list[Ratio]:
    from ..evaluation.bench import BenchSettings, bench_fit, bench_restore, bench_steer, bench_warp

    settings = BenchSettings(repeats=args.repeats, steps=args.steps, batch=args.batch)
    runtime = common.runtime_of(args)
    found = []
    if {"restore", "steer", "fit"} & set(args.only):
        bundle = common.bundle_of(args, runtime)
        if "restore" in args.only:
            found.append(bench_restore(bundle.denoiser, settings, runtime))
        if "steer" in args.only and bundle.judge:
            found.append(bench_steer(bundle.judge, settings, runtime))
        if "fit" in args.only:
            found.append(bench_fit(bundle.denoiser, bundle.encoder, settings, runtime))
    if "warp" in args.only:
        found += [bench_warp(settings, method) for method in ("tps", "piecewise")]
    return found

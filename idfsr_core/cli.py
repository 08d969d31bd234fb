"""The command line: reads the arguments, calls one command, turns every typed error into one line and exit code 2.

Nothing heavy is imported here or by building the parser, so ``--help`` answers at once; a command imports what it needs
when it runs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from . import __version__
from .commands import bench, degrade, demo, encode, evaluate, fit, pretrain, restore
from .errors import IDFSRError

COMMANDS = (restore, encode, fit, degrade, pretrain, evaluate, bench, demo)
DESCRIPTION = """Restore the face of a known person from 4 to 32 pixels, using a few good photos of that person.

Exit codes: 0 done, 1 some pictures of a folder failed (they are listed), 2 nothing done and why, 130 interrupted."""


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; each command module adds its own arguments."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m idfsr_core", description=DESCRIPTION, formatter_class=raw)
    parser.add_argument("--version", action="version", version=f"idfsr {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        summary, _, details = (command.__doc__ or "").partition("\n")
        name = command.__name__.rpartition(".")[2]
        sub = subparsers.add_parser(
            name, help=summary.rstrip("."), description=summary, epilog=details.strip(), formatter_class=raw
        )
        command.add_arguments(sub)
        sub.set_defaults(run=command.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code.

    Args:
        argv: the arguments without the program's name; None takes those of the process.
    """
    args = build_parser().parse_args(argv)
    try:
        return args.run(args)
    except IDFSRError as error:
        print(f"error: {error}".replace("\n", " "), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; what was being written is not there", file=sys.stderr)
        return 130

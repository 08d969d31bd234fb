"""pretrain."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """To come."""


def run(args: argparse.Namespace) -> int:
    """To come."""
    raise NotImplementedError

"""What several commands share: arguments, the runtime, pictures with their names, the figures printed at the end."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ArgumentError, OutputError
from ..runtime import Runtime

if TYPE_CHECKING:
    from torch import Tensor

    from ..bundle import Bundle
    from ..faces.analyzer import FaceAnalyzer
    from ..references import PreparedReferences


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """``--bundle``, ``--analyzer``, ``--device`` and ``--dtype``."""
    group = parser.add_argument_group("model and machine")
    group.add_argument("--bundle", metavar="FILE", help="weights to use (default: the shipped bundle)")
    group.add_argument(
        "--analyzer",
        metavar="FOLDER",
        help="find faces with the insightface model pack in this folder (default: the bundle's own analyzer)",
    )
    group.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:1, mps (default: the fastest there is)")
    group.add_argument(
        "--dtype",
        choices=("float32", "bfloat16", "float16"),
        help="precision of the denoiser (default: what the device computes well)",
    )


def runtime_of(args: argparse.Namespace) -> Runtime:
    """The runtime that ``--device`` and ``--dtype`` ask for; a device that is not there raises ArgumentError."""
    import torch

    best = Runtime.best()
    device = args.device or best.device
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ArgumentError("--device", f"{device} ({reason})", "name a device of this machine, such as cpu") from error
    fitting = best.dtype if device == best.device else Runtime().dtype
    return replace(best, device=device, dtype=args.dtype or fitting)


def bundle_of(args: argparse.Namespace, runtime: Runtime) -> Bundle:
    """The bundle named by ``--bundle``."""
    from ..bundle import load_bundle

    return load_bundle(args.bundle, runtime.device)


def analyzer_of(args: argparse.Namespace, bundle: Bundle, runtime: Runtime) -> FaceAnalyzer:
    """The bundle's own analyzer, or the insightface pack named by ``--analyzer``."""
    if args.analyzer is None:
        return bundle.analyzer
    from ..faces.insight import InsightFaceAnalyzer
    from ..faces.pairing import PackWithLandmarks

    return PackWithLandmarks(InsightFaceAnalyzer(args.analyzer, runtime), bundle.analyzer)


def pictures_in(folder: str | Path) -> list[Path]:
    """The pictures of a folder by name, or the file itself; ImageError where there is none."""
    from ..images import list_images

    return list_images(folder)


def read(path: Path) -> Tensor:
    """A picture as [1, 3, H, W]."""
    from ..images import read_image

    return read_image(path)


def read_references(
    places: Sequence[str], bundle: Bundle, analyzer: FaceAnalyzer, runtime: Runtime
) -> PreparedReferences:
    """The photos in folders and files, prepared."""
    from ..references import prepare_references

    paths = [path for place in places for path in pictures_in(place)]
    photos = ((path.name, read(path)) for path in paths)
    return prepare_references(analyzer, bundle.encoder, photos, runtime.check, bundle.face_size)


def check_writable(folder: Path) -> None:
    """Raise OutputError before the work begins when nothing can be written into ``folder`` (made if missing)."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"output folder {folder}", error.strerror or error, "name a folder you may write") from error
    if not os.access(folder, os.W_OK):
        raise OutputError(f"output folder {folder}", "not writable", "name a folder you may write")


class Interrupt:
    """Inside the ``with`` block the first Ctrl-C only asks to stop; a second one interrupts as usual."""

    def __init__(self) -> None:
        self._asked = False
        self._before: Any = None

    def asked(self) -> bool:
        """For ``Runtime.cancelled``."""
        return self._asked

    def __enter__(self) -> Interrupt:
        with suppress(ValueError):  # only the main thread may listen
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _note(self, number: int, frame: object) -> None:
        self._asked = True
        signal.signal(signal.SIGINT, self._before)


def check_picture(path: Path) -> None:
    """The same for a picture to be written, whose name must end in .png or .jpg."""
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise OutputError(f"output {path}", f"suffix {path.suffix!r}", "name the file .png or .jpg")
    check_writable(path.parent)


def peak_memory() -> dict[str, float]:
    """Peak memory of this process so far in MiB: {"ram": ..., "cuda": ...}, each where the system tells."""
    found: dict[str, float] = {}
    if sys.platform != "win32":
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        found["ram"] = peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    torch: Any = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        found["cuda"] = torch.cuda.max_memory_allocated() / (1 << 20)
    return found


def memory_line() -> str:
    """The same as one line for people."""
    return ", ".join(f"{value:.0f} MiB {name.upper()}" for name, value in peak_memory().items()) or "not known"

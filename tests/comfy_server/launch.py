"""Run ComfyUI's main.py under a test: by ComfyUI's own Python, which need have nothing of the test's.

    python launch.py CHECKOUT [ComfyUI's options ...]      (standard input: a pipe that the test holds open)

Three things are added to the plain `python main.py`:

- the process ends when standard input closes, which also happens when the test is killed;
- the first import of some packages is written to the log, whether it succeeds or not;
- torchvision and torchaudio import even where they were built for another torch than the one that is installed, as is
  common on machines without a graphics card: nothing here needs what they have compiled.
"""

from __future__ import annotations

import importlib.util
import os
import runpy
import sys
import threading
import types
from pathlib import Path

WATCHED = ("diffusers", "insightface")
MARK = "launch: first import of"
_kept: list[object] = []  # operators are declared for as long as their library object lives


def end_with_parent() -> None:
    """End this process as soon as standard input closes."""

    def wait() -> None:
        while os.read(0, 4096):
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True, name="end with parent").start()


class ImportWatch:
    """A finder that finds nothing; it writes down the first search for each package of :data:`WATCHED`."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Note the name; the finders after this one do the work."""
        if name in self.seen:
            return
        self.seen.add(name)
        if name in WATCHED:
            print(f"{MARK} {name}", file=sys.stderr, flush=True)
        if name == "torchvision":
            declare_torchvision_operators()


def declare_torchvision_operators() -> None:
    """Declare the compiled operators that its Python files name, where their library does not load."""
    import torch

    package = importlib.util.find_spec("torchvision")
    if package is None or package.origin is None:
        return
    try:
        for library in Path(package.origin).parent.glob("_C*.so"):
            torch.ops.load_library(library)
    except OSError:  # built for another torch
        operators = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _kept.append(operators)


def stub_torchaudio_library() -> None:
    """Let torchaudio import without its compiled library, which refuses any other torch than its own."""
    extension = types.ModuleType("torchaudio._extension")
    extension.__dict__.update(
        _IS_TORCHAUDIO_EXT_AVAILABLE=False, _IS_ALIGN_AVAILABLE=False, fail_if_no_align=lambda function: function
    )
    sys.modules["torchaudio._extension"] = extension


def main() -> None:
    """Prepare, then be ComfyUI."""
    checkout = Path(sys.argv[1])
    end_with_parent()
    sys.meta_path.insert(0, ImportWatch())  # type: ignore[arg-type]
    stub_torchaudio_library()
    script = checkout / "main.py"
    sys.argv = [str(script), *sys.argv[2:]]
    sys.path[0] = str(checkout)
    runpy.run_path(str(script), run_name="__main__")


if __name__ == "__main__":
    main()

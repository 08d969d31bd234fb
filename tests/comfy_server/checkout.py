"""Where ComfyUI is and which Python runs it; or a sentence that says how to get it."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

ADVICE = """\
needs ComfyUI: no main.py in {folder}. Get it by
    git clone https://github.com/comfyanonymous/ComfyUI ~/comfy/ComfyUI
    python3 -m venv ~/comfy/ComfyUI/.venv
    ~/comfy/ComfyUI/.venv/bin/pip install -r ~/comfy/ComfyUI/requirements.txt -r requirements.txt
or by `comfy install` (pip install comfy-cli); name another place by COMFYUI_PATH, another Python by COMFYUI_PYTHON"""


@dataclass(frozen=True, kw_only=True)
class Checkout:
    """A ComfyUI source folder and the interpreter that has its requirements."""

    folder: Path
    python: Path


def find_checkout() -> Checkout | str:
    """The checkout at COMFYUI_PATH or ~/comfy/ComfyUI, or why there is none."""
    folder = Path(os.environ.get("COMFYUI_PATH", "~/comfy/ComfyUI")).expanduser().absolute()
    if not (folder / "main.py").is_file():
        return ADVICE.format(folder=folder)
    return Checkout(folder=folder, python=_interpreter(folder))


def _interpreter(folder: Path) -> Path:
    if named := os.environ.get("COMFYUI_PYTHON"):
        return Path(named).expanduser().absolute()
    inside = ("bin/python", "Scripts/python.exe")
    choices = [folder / venv / python for venv in (".venv", "venv") for python in inside]
    return next((choice for choice in choices if choice.is_file()), Path(sys.executable))

"""The archive that the registry would get, as comfy-cli packs it: tracked files less those that .comfyignore names."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
QUIET = {"DO_NOT_TRACK": "1", "NO_COLOR": "1", "TERM": "dumb"}


def comfy_cli(*arguments: str | Path) -> str:
    """Run Python, with ``-m comfy_cli`` or a piece of code, in the source folder; all that it prints."""
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | QUIET, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def write_archive(path: Path) -> Path:
    """What `comfy node pack` writes; that command would leave its file in the source folder."""
    comfy_cli("-c", "import sys; from comfy_cli.file_utils import zip_files; zip_files(sys.argv[1])", path)
    return path


def names(path: Path) -> set[str]:
    """The files in an archive, with / between folders."""
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())

"""JSON files that are run by name: those that come with the package, or one of the user's own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .errors import FileFormatError


def names_in(folder: Path) -> list[str]:
    """The files that come with the package."""
    return sorted(path.stem for path in folder.glob("*.json"))


def read_named(kind: str, name: str | Path, folder: Path) -> tuple[Path, dict[str, Any]]:
    """The path and the object of ``folder/name.json``, or of a file of one's own, whose name ends in ``.json``.

    Args:
        kind: what the files are, for messages, such as "recipe".
        name: one of :func:`names_in`, or a path.
        folder: where the package keeps its own.

    Raises:
        FileFormatError: there is no such file, or it is no JSON object.
    """
    path = Path(name) if str(name).endswith(".json") else folder / f"{name}.json"
    what = f"{kind} {name}"
    if not path.is_file():
        raise FileFormatError(what, "not found", f"use one of {', '.join(names_in(folder))}, or a .json file")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FileFormatError(what, f"no JSON ({error})", "mend it") from error
    if not isinstance(values, dict):
        raise FileFormatError(what, type(values).__name__, "give a JSON object")
    return path, values


def check_names(what: str, values: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raise FileFormatError where ``values`` holds a name that is not known."""
    known = list(known)
    if unknown := sorted(set(values) - set(known)):
        raise FileFormatError(what, f"unknown {', '.join(unknown)}", f"use some of {', '.join(known)}")

"""Names that people give to identities, and that become file names on any system."""

from __future__ import annotations

import re
import unicodedata

from ..errors import ArgumentError

SUFFIX = ".safetensors"
MOST_BYTES = 150  # of a name in UTF-8: with suffix and a temporary prefix it stays within the 255 of most file systems
_FORBIDDEN = '/\\:*?"<>|'
_DEVICES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)
_JOINERS = "\u200c\u200d"  # invisible, but part of how Persian, Indic scripts and emoji are written
_REMEDY = "use letters, digits, spaces, - or _, such as anna or Grandma 1962"


def check_name(name: str) -> str:
    """The name as a file name: trimmed, in Unicode normal form C, without ``.safetensors``.

    Letters of any script are allowed. What leads out of the folder, hides the file, or is refused by Windows, macOS or
    Linux is not, so that a file can be carried from one to the other.

    Raises:
        ArgumentError: empty, longer than 150 bytes, a character that file names cannot have, a dot at either end, or a
            name that Windows keeps for devices.
    """
    given, name = name, unicodedata.normalize("NFC", name).strip()
    if name.lower().endswith(SUFFIX):
        name = name[: -len(SUFFIX)].rstrip()
    if not name:
        raise ArgumentError("name", "empty" if not given.strip() else repr(given), "write a name, such as anna")
    wrong = sorted({letter for letter in name if _unusable(letter)})
    if wrong:
        raise ArgumentError("name", f"{name!r} with {' '.join(map(ascii, wrong))}", _REMEDY)
    if name.startswith(".") or name.endswith("."):
        raise ArgumentError("name", repr(name), "leave out the dot at its beginning or end")
    if _DEVICES.fullmatch(name):
        raise ArgumentError("name", f"{name!r}, which Windows keeps for a device", "choose another name")
    size = len(name.encode())
    if size > MOST_BYTES:
        raise ArgumentError("name", f"{size} bytes long", f"use a shorter one, at most {MOST_BYTES} bytes")
    return name


def _unusable(letter: str) -> bool:
    """Separators, wildcards, control characters, marks that change the direction of writing, lone surrogates."""
    return letter in _FORBIDDEN or (unicodedata.category(letter)[0] == "C" and letter not in _JOINERS)


def numbered(name: str, taken: set[str]) -> str:
    """The name, or with the first number from 2 that no taken name has; capitals make no difference."""
    lower = {each.casefold() for each in taken}
    number, free = 1, name
    while free.casefold() in lower:
        number += 1
        free = f"{name} {number}"
    return free

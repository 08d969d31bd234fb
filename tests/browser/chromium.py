"""Where chromium is and how it is started; or a sentence that says how to get it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome")
ADVICE = f"""\
needs chromium: none of {", ".join(NAMES)} is on the path. Get it by
    apt install chromium        (Debian, Ubuntu; playwright's own download is not needed)
or name the program by CHROMIUM_PATH"""

FLAGS = (
    "--no-sandbox",  # root, as in a container, may not have one
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # nothing but the test's own server is reached
)


def find_chromium() -> Path | str:
    """The program at CHROMIUM_PATH or the first of :data:`NAMES` on the path, or why there is none."""
    named = os.environ.get("CHROMIUM_PATH")
    found = next(filter(None, map(shutil.which, [named] if named else NAMES)), None)
    return Path(found) if found else ADVICE

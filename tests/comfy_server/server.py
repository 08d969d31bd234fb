"""A ComfyUI server of the test's own: free port, CPU, its own folders, one pack, a log that can be read."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import time
import urllib.request
from pathlib import Path
from urllib.error import URLError

from .checkout import Checkout

LAUNCH = Path(__file__).with_name("launch.py")
FOLDERS = ("custom_nodes", "models", "input", "output", "temp", "user")
OPTIONS = ("--cpu", "--disable-auto-launch", "--disable-api-nodes", "--database-url", "sqlite:///:memory:")


class Server:
    """Started by :meth:`start`, ended by :meth:`stop`, and in any case when the process that started it ends.

    Args:
        checkout: which ComfyUI.
        base: everything that the server reads of the user's or writes lies in this folder.
        log: name of the file in ``base`` that takes what the server says.
    """

    def __init__(self, checkout: Checkout, base: Path, log: str = "server.log") -> None:
        self.checkout = checkout
        self.base = base
        self.log_file = base / log
        self.port = 0
        self.started_in = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        for folder in FOLDERS:
            (base / folder).mkdir(parents=True, exist_ok=True)

    @property
    def pack(self) -> Path:
        """The pack's folder, as ComfyUI sees it."""
        return self.base / "custom_nodes" / "idfsr"

    @property
    def url(self) -> str:
        """Without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Of the running server."""
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """All that the server has written so far, without colours."""
        text = self.log_file.read_text(errors="replace") if self.log_file.is_file() else ""
        return re.sub(r"\x1b\[[0-9;]*m", "", text)

    def start(self, *options: str, limit: float = 600) -> Server:
        """Return as soon as it answers.

        Raises:
            RuntimeError: it ended, or said nothing for ``limit`` seconds; with the end of its log.
        """
        began = time.monotonic()
        self.port = free_port()
        self._process = self._spawn("--port", str(self.port), *options)
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() - began > limit:
                self.stop()
                raise RuntimeError(f"the server did not start; its log ends with\n{self.log[-6000:]}")
            time.sleep(0.5)
        self.started_in = time.monotonic() - began
        return self

    def run_once(self, limit: float = 600) -> str:
        """Start, load all nodes, end: the log. Nothing is left running."""
        self._process = self._spawn("--port", str(free_port()), "--quick-test-for-ci")
        try:
            self._process.wait(limit)
        finally:
            self.stop()
        return self.log

    def _spawn(self, *options: str) -> subprocess.Popen[bytes]:
        command = [
            self.checkout.python,
            LAUNCH,
            self.checkout.folder,
            "--base-directory",
            self.base,
            *OPTIONS,
            *options,
        ]
        quiet = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "PYTHONUNBUFFERED": "1"}
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHONPATH", "PYTEST"))}
        with self.log_file.open("ab") as log:
            return subprocess.Popen(
                [str(part) for part in command],
                cwd=self.base,
                env=environment | quiet,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/system_stats", timeout=30) as answer:
                return answer.status == 200
        except (URLError, ConnectionError, TimeoutError):
            return False

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """End it and wait until it is gone; more than once does no harm."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()  # launch.py ends the process at this
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]

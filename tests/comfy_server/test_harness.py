"""The harness itself, on ComfyUI's own nodes: what it reports can be trusted."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from .checkout import find_checkout
from .client import Client, Prompt
from .server import LAUNCH, Server


def grey(value: float = 0.5, side: int = 16) -> Prompt:
    """A picture of one colour, saved."""
    colour = int(value * 255) * 0x10101
    inputs = {"width": side, "height": side, "batch_size": 2, "color": colour}
    return {
        "1": {"class_type": "EmptyImage", "inputs": inputs},
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }


def test_pictures_come_back_as_they_were_made(client: Client) -> None:
    run = client.run(grey(0.2))
    assert run.ending == "execution_success"
    pictures = client.pictures(run.outputs["2"])
    assert torch.equal(pictures, torch.full((2, 3, 16, 16), 51 / 255))


def test_second_run_executes_nothing(client: Client) -> None:
    assert set(client.run(grey(0.3)).executed) == {"1", "2"}
    assert client.run(grey(0.3)).executed == []


def test_a_refused_prompt_is_a_failure(client: Client) -> None:
    prompt = grey()
    prompt["1"]["inputs"]["width"] = -5
    with pytest.raises(AssertionError, match="width"):
        client.queue(prompt)


def test_the_server_keeps_to_its_own_folders(server: Server) -> None:
    opened = [Path(file.path) for file in psutil.Process(server.pid).open_files()]
    assert not [path for path in opened if path.is_relative_to(server.checkout.folder) and ".venv" not in path.parts]
    assert f"Setting base directory to: {server.base}" in server.log


def test_the_server_ends_with_its_parent() -> None:
    """The parent is killed, as a test run may be: nobody is left to say stop."""
    code = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", '''
import sys, time
sys.path.insert(0, {str(LAUNCH.parent)!r})
import launch
launch.end_with_parent()
time.sleep(600)
'''], stdin=subprocess.PIPE)
print(child.pid, flush=True)
time.sleep(600)
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    time.sleep(1)
    assert child.is_running()
    parent.kill()
    parent.wait()
    psutil.wait_procs([child], timeout=30)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_without_comfyui_the_skip_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path))
    advice = find_checkout()
    assert isinstance(advice, str)
    for words in ("git clone", "comfy install", "COMFYUI_PATH", str(tmp_path)):
        assert words in advice


def test_the_interpreter_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path))
    monkeypatch.delenv("COMFYUI_PYTHON", raising=False)
    (tmp_path / "main.py").touch()

    def python() -> str:
        found = find_checkout()
        assert not isinstance(found, str)
        return str(found.python)

    assert python() == sys.executable
    for venv in ("venv", ".venv"):
        (tmp_path / venv / "bin").mkdir(parents=True)
        (tmp_path / venv / "bin" / "python").touch()
        assert python() == str(tmp_path / venv / "bin" / "python")
    monkeypatch.setenv("COMFYUI_PYTHON", "/usr/bin/python3")
    assert python() == "/usr/bin/python3"

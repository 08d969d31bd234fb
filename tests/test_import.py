"""Importing the package, asking for help and a typing error in an argument cost nothing heavy."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "diffusers", "insightface", "onnxruntime", "cv2", "numpy", "accelerate", "safetensors", "timm")
COMMANDS = ("restore", "encode", "fit", "degrade", "pretrain", "evaluate", "bench", "demo")


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded_by(code: str) -> set[str]:
    """Which heavy packages a piece of code imports, in a fresh process."""
    return set(python(f"{code}\nimport sys; print(*(set(sys.modules) & set({HEAVY!r})), sep='\\n')").split())


@pytest.mark.parametrize(
    "module", ["idfsr_core", "idfsr_core.errors", "idfsr_core.runtime", "idfsr_core.options", "idfsr_core.cli"]
)
def test_light_modules_load_nothing_heavy(module: str) -> None:
    assert loaded_by(f"import {module}") == set()


def test_the_check_would_notice() -> None:
    assert "torch" in loaded_by("import idfsr_core.geometry")


def test_every_help_loads_nothing_heavy() -> None:
    code = f"""
import contextlib, io
from idfsr_core.cli import main
for command in {COMMANDS!r}:
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()) as text:
        main([command, "--help"])
    assert "example" in text.getvalue(), command
"""
    assert loaded_by(code) == set()


def test_core_modules_load_neither_insightface_nor_onnxruntime() -> None:
    """They wait inside the module that wraps them, until it is used."""
    found = loaded_by(
        "import idfsr_core.restoration, idfsr_core.bundle, idfsr_core.faces.insight, idfsr_core.identity.insight"
    )
    assert "torch" in found
    assert not found & {"insightface", "onnxruntime", "timm"}


def test_what_the_nodes_import_at_their_start_loads_no_diffusers() -> None:
    code = "import idfsr_core.restoration, idfsr_core.bundle, idfsr_core.fitting, idfsr_core.evaluation.pair_sheet"
    assert "diffusers" not in loaded_by(code)


def test_the_core_knows_nothing_of_comfyui() -> None:
    names = ("comfy", "folder_paths", "nodes", "server", "execution")
    for path in (ROOT / "idfsr_core").rglob("*.py"):
        for line in path.read_text().splitlines():
            words = line.replace(",", " ").split()
            if words[:1] in (["import"], ["from"]):
                assert words[1].split(".")[0] not in names, f"{path}: {line}"
                assert words[1].split(".")[0] != "idfsr_core", f"{path} imports absolutely: {line}"


def test_help_answers_at_once() -> None:
    """0.3 s of processor time above a bare interpreter's start; time on the wall would measure the machine's load."""
    resource = pytest.importorskip("resource", reason="processor time is told otherwise on Windows")

    def spent(arguments: list[str]) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, check=True, timeout=600)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    bare = min(spent(["-c", "pass"]) for _ in range(3))
    assert min(spent(["-m", "idfsr_core", "restore", "--help"]) for _ in range(3)) - bare < 0.3

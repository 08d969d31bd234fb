"""The project file, the requirements and the two commands agree with each other."""

import re
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomllib", reason="tomllib came with Python 3.11")

import idfsr_core

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def requirements(name: str) -> dict[str, str]:
    """Package name to version part of every line of a requirements file."""
    lines = (line.split("#")[0].strip() for line in (ROOT / name).read_text().splitlines())
    found = (re.match(r"([A-Za-z0-9_.-]+)(?:\[[^]]*\])?(.*)", line) for line in lines if line and line[0] != "-")
    return {match[1].lower(): match[2] for match in found if match}


def test_version_is_stated_once_over(project):
    assert project["project"]["version"] == idfsr_core.__version__


def test_registry_fields_are_there(project):
    assert set(project["tool"]["comfy"]) >= {"PublisherId", "DisplayName", "Icon", "requires-comfyui"}
    assert re.fullmatch(r"[a-z][a-z0-9-]*", project["tool"]["comfy"]["PublisherId"])
    assert "comfyui" not in project["project"]["name"].lower()
    assert re.fullmatch(r"\d+\.\d+\.\d+", project["project"]["version"])


def test_licence_is_the_full_apache_text(project):
    text = (ROOT / "LICENSE").read_text()
    assert project["project"]["license"] == "Apache-2.0"
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_dependencies_come_from_the_requirements(project):
    assert "dependencies" in project["project"]["dynamic"]
    assert project["tool"]["setuptools"]["dynamic"]["dependencies"]["file"] == ["requirements.txt"]


@pytest.mark.parametrize("name", ["torch", "numpy"])
def test_torch_and_numpy_carry_no_version(name):
    assert requirements("requirements.txt")[name] == ""


def test_one_opencv_only():
    for name in ("requirements.txt", "requirements-dev.txt"):
        assert "opencv-python-headless" not in requirements(name)
    assert "opencv-python" in requirements("requirements.txt")


def test_development_installs_the_extra_too(project):
    development = requirements("requirements-dev.txt")
    for line in project["project"]["optional-dependencies"]["measure"]:
        match = re.match(r"([A-Za-z0-9_.-]+)(.*)", line)
        assert match
        assert development[match[1]] == match[2]


def test_installed_packages_include_the_shipped_files(project):
    patterns = project["tool"]["setuptools"]["package-data"]["idfsr_core"]
    shipped = {path for pattern in patterns for path in (ROOT / "idfsr_core").glob(pattern)}
    assert any(path.name == "README.md" for path in shipped)


def test_ci_script_is_executable_and_runs_every_step():
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o100
    for command in ("ruff format --check", "ruff check", "pyright", "make test"):
        assert command in script.read_text()

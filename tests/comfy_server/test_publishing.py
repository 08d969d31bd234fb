"""What the ComfyUI registry gets: the fields of pyproject.toml, and the archive that is published."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from .archive import ROOT, comfy_cli, names

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomllib", reason="tomllib came with Python 3.11")

NEEDED = (
    "__init__.py",
    "LICENSE",
    "README.md",
    "pyproject.toml",
    "requirements.txt",
    "nodes/__init__.py",
    "nodes/bridge.py",
    "idfsr_core/__init__.py",
    "idfsr_core/assets/idfsr-compact-128.safetensors",
    "idfsr_core/assets/samples/samples.json",
)
FOLDERS = ("idfsr_core", "locales", "nodes", "subgraphs", "workflows")
DEVELOPMENT = re.compile(r"(^|/)(tests|__pycache__|\.[^/]+)(/|$)|^(Makefile|requirements-dev\.txt)$|\.pyc$")
# docs.comfy.org/registry/specifications, "classifiers"
SYSTEMS = ("Microsoft", "POSIX", "MacOS", "OS Independent")
ACCELERATORS = (
    "GPU :: NVIDIA CUDA",
    "GPU :: AMD ROCm",
    "GPU :: Intel Arc",
    "NPU :: Huawei Ascend",
    "GPU :: Apple Metal",
)


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def archived(archive: Path) -> set[str]:
    return names(archive)


def test_identifiers_follow_the_registry(project: dict[str, Any]) -> None:
    """Length, letters, no name of ComfyUI in ours, three numbers of a version."""
    name, comfy = project["project"]["name"], project["tool"]["comfy"]
    assert re.fullmatch(r"[a-z][a-z0-9]*([._-][a-z0-9]+)*", name)
    assert len(name) < 100
    assert "comfyui" not in name
    assert re.fullmatch(r"[a-z0-9-]+", comfy["PublisherId"])
    assert 0 < len(comfy["DisplayName"]) < 100
    assert re.fullmatch(r">=\d+\.\d+\.\d+", comfy["requires-comfyui"])


def test_urls_and_licence(project: dict[str, Any]) -> None:
    urls = project["project"]["urls"]
    assert "Repository" in urls
    assert all(url.startswith("https://") for url in urls.values())
    assert project["project"]["license"] == "Apache-2.0"
    assert all((ROOT / file).is_file() for file in project["project"]["license-files"])


def test_classifiers_are_those_that_the_registry_reads(project: dict[str, Any]) -> None:
    classifiers = project["project"]["classifiers"]
    systems = [c.removeprefix("Operating System :: ") for c in classifiers if c.startswith("Operating System")]
    machines = [c.removeprefix("Environment :: ") for c in classifiers if c.startswith("Environment :: ") and "PU" in c]
    assert systems
    assert set(systems) <= set(SYSTEMS)
    assert "GPU :: NVIDIA CUDA" in machines
    assert set(machines) <= set(ACCELERATORS)


def test_icon_lies_in_the_repository_and_fits(project: dict[str, Any]) -> None:
    """At most 800x400 pixels; the address is that of the file in the repository."""
    address = project["tool"]["comfy"]["Icon"]
    repository = project["project"]["urls"]["Repository"]
    assert address.startswith(f"{repository}/")
    icon = ROOT / "docs" / Path(address).name
    assert address.endswith(f"/{icon.relative_to(ROOT).as_posix()}")
    picture = ElementTree.parse(icon).getroot()
    assert picture.tag.endswith("svg")
    assert int(picture.attrib["width"]) <= 800
    assert int(picture.attrib["height"]) <= 400


def test_comfy_cli_reads_every_field(project: dict[str, Any]) -> None:
    """The registry gets what comfy-cli understands of the file, and it warns of what it does not."""
    code = """
from comfy_cli.registry import extract_node_configuration
config = extract_node_configuration()
comfy = config.tool_comfy
print(config.project.name, config.project.version, comfy.publisher_id, comfy.display_name, comfy.icon,
      config.project.supported_comfyui_version, *config.project.supported_os, *config.project.supported_accelerators,
      sep="|")
"""
    said = comfy_cli("-c", code)
    assert "arning" not in said
    comfy = project["tool"]["comfy"]
    fields = [project["project"]["name"], project["project"]["version"]]
    fields += [comfy[key] for key in ("PublisherId", "DisplayName", "Icon", "requires-comfyui")]
    assert said.splitlines()[-1] == "|".join([*fields, "OS Independent", "GPU :: NVIDIA CUDA"])


def test_comfy_node_validate_passes() -> None:
    """It reads pyproject.toml and looks for exec, eval and several statements in a line; it needs no network."""
    said = comfy_cli("-m", "comfy_cli", "--skip-prompt", "node", "validate")
    assert "All validation checks passed" in said, said
    assert "arning" not in said


def test_archive_holds_what_the_pack_needs(archived: set[str]) -> None:
    """The files without which nothing runs, and of the folders that ComfyUI reads every file that git knows."""
    assert set(NEEDED) <= archived
    tracked = subprocess.run(["git", "ls-files", "-z", *FOLDERS], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("needs git, in a clone")
    names = set(filter(None, tracked.stdout.split("\0")))
    assert {name.split("/")[0] for name in names} == set(FOLDERS)
    assert names <= archived


def test_archive_holds_nothing_of_development(archived: set[str]) -> None:
    assert not [name for name in archived if DEVELOPMENT.search(name)]
    assert DEVELOPMENT.search("tests/conftest.py")
    assert DEVELOPMENT.search(".ci/run")


def test_links_of_the_readme_work_in_the_archive(archived: set[str]) -> None:
    links = re.findall(r"\]\((?!https?://|#|mailto:)([^)#]+)", (ROOT / "README.md").read_text())
    assert links
    missing = [link for link in links if link not in archived and not any(n.startswith(f"{link}/") for n in archived)]
    assert not missing


def test_archive_is_small_enough_to_be_installed(archived: set[str]) -> None:
    """The shipped bundle is the one large file."""
    large = {name: (ROOT / name).stat().st_size / 2**20 for name in archived if (ROOT / name).stat().st_size > 2**20}
    assert set(large) == {"idfsr_core/assets/idfsr-compact-128.safetensors"}, large

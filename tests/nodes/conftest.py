"""The pack, loaded once a session over a stand-in for ComfyUI."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests import tiny
from tests.comfy_stand_in import StandIn, load_pack
from tests.nodes.running import Pack


@pytest.fixture(scope="session")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[StandIn, ModuleType, list[type], Path]]:
    """Stand-in, package, nodes and a tiny bundle; the stand-in's modules leave with the session."""
    stand_in = StandIn()
    stand_in.folders.reset(tmp_path_factory.mktemp("comfy"))
    stand_in.install()
    try:
        package, nodes = load_pack()
        yield stand_in, package, nodes, tiny.write_bundle(tmp_path_factory.mktemp("bundle") / "tiny.safetensors")
    finally:
        stand_in.remove()


@pytest.fixture
def pack(loaded: tuple[StandIn, ModuleType, list[type], Path], tmp_path: Path) -> Pack:
    """The pack with empty folders; see :class:`tests.nodes.running.Pack`."""
    return Pack(*loaded, tmp_path)

"""The server and what talks to it, one of each for all tests of this folder."""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .archive import write_archive
from .checkout import Checkout, find_checkout
from .client import Client
from .server import Server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever uses the checkout carries the mark."""
    for item in items:
        if "checkout" in getattr(item, "fixturenames", ()):
            item.add_marker("comfy")


@pytest.fixture(scope="session")
def checkout() -> Checkout:
    """ComfyUI's source; a test that needs it is skipped where it is absent."""
    found = find_checkout()
    if isinstance(found, str):
        pytest.skip(found)
    return found


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pack as it would be published."""
    return write_archive(tmp_path_factory.mktemp("archive") / "node.zip")


@pytest.fixture(scope="session")
def base(checkout: Checkout, archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A base directory with this pack, as published, in custom_nodes; compiled, as it is from the second start on."""
    base = tmp_path_factory.mktemp("comfy")
    pack = base / "custom_nodes" / "idfsr"
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(pack)
    subprocess.run([checkout.python, "-m", "compileall", "-q", pack], check=True, timeout=300)
    yield base
    for folder in ("models", "custom_nodes"):  # hundreds of megabytes; the log and the pictures stay
        shutil.rmtree(base / folder, ignore_errors=True)


@pytest.fixture(scope="package")
def server(checkout: Checkout, base: Path) -> Iterator[Server]:
    """A running server with this pack alone; it ends with the last test of this folder."""
    server = Server(checkout, base)
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    """A connection of the test's own."""
    client = Client(server.url)
    yield client
    client.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """Show the end of the server's log beside a failure."""
    report = yield
    server = getattr(item, "funcargs", {}).get("server")
    if report.failed and isinstance(server, Server):
        report.sections.append(("the server's log ends with", server.log[-6000:]))
    return report

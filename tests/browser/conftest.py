"""The server, the browser and the page, one of each for all tests of this folder, ended with the last of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ..comfy_server.checkout import Checkout
from ..comfy_server.conftest import archive, base, checkout
from ..comfy_server.server import Server
from .chromium import FLAGS, find_chromium
from .frontend import Frontend

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

__all__ = ["archive", "base", "checkout"]
HERE = Path(__file__).parent
SETTINGS = {
    "Comfy.TutorialCompleted": True,  # nothing opens by itself
    "Comfy.Locale": "en",
    "Comfy.Minimap.Visible": False,  # it would hide a corner of the graph
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of this folder carry the mark."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker("browser")


@pytest.fixture(scope="package")
def chromium() -> Path:
    """The browser's program; a test that needs it, or playwright, is skipped where it is absent."""
    pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    found = find_chromium()
    if isinstance(found, str):
        pytest.skip(found)
    return found


@pytest.fixture(scope="package")
def server(chromium: Path, checkout: Checkout, base: Path) -> Iterator[Server]:
    """A running server with this pack alone, and a user who is not new."""
    settings = base / "user" / "default" / "comfy.settings.json"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text(json.dumps(SETTINGS))
    server = Server(checkout, base)
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture(scope="package")
def browser(chromium: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    """Chromium without a window, and with a profile of its own.

    It ends with this folder's tests: until then playwright keeps an event loop, which others could not have.
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        context = started.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("profile"),
            executable_path=chromium,
            args=list(FLAGS),
            viewport={"width": 1600, "height": 1000},
        )
        context.set_default_timeout(60_000)
        yield context
        context.close()


@pytest.fixture(scope="package")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the screenshots go."""
    return tmp_path_factory.mktemp("screenshots")


@pytest.fixture(scope="package")
def opened(server: Server, browser: BrowserContext, pictures: Path) -> Frontend:
    """ComfyUI's page, loaded once: that takes longer than most tests."""
    return Frontend(browser.new_page(), server, pictures).open()


@pytest.fixture
def comfy(opened: Frontend) -> Iterator[Frontend]:
    """ComfyUI with an empty graph; after the test nothing of the pack may have gone wrong unseen."""
    opened.faults.clear()
    opened.blank()
    yield opened
    assert opened.faults == []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """Put a screenshot and the end of the server's log beside a failure."""
    report = yield
    comfy = getattr(item, "funcargs", {}).get("comfy")
    if report.failed and isinstance(comfy, Frontend):
        picture = comfy.screenshot(f"failed-{item.name}".replace("/", "_"))
        report.sections.append(("the page when it failed", str(picture)))
        report.sections.append(("the server's log ends with", comfy.server.log[-4000:]))
    return report

"""ComfyUI's page in a browser, used as a user uses it; what is read of the graph is read in the page."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..comfy_server.server import Server

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

SCRIPT = Path(__file__).with_name("frontend.js")
PACK = "idfsr"
Node = dict[str, Any]


class Frontend:
    """One tab.

    Args:
        page: a new tab.
        server: which ComfyUI it shows.
        pictures: folder that takes the screenshots.
    """

    def __init__(self, page: Page, server: Server, pictures: Path) -> None:
        self.page = page
        self.server = server
        self.pictures = pictures
        self.faults: list[str] = []
        """What went wrong unseen: exceptions that nobody caught, files of the pack that the server did not give."""
        page.add_init_script(path=SCRIPT)
        page.on("pageerror", lambda error: self.faults.append(f"{error}"))
        page.on("response", lambda answer: self._listen(answer.url, answer.status))

    def _listen(self, url: str, status: int) -> None:
        """The help page of a language is tried before the one of all languages: that one may be absent."""
        if status >= 400 and f"/{PACK}/" in url and not url.endswith(("/en.md", "/zh.md")):
            self.faults.append(f"{status}: {url}")

    def open(self) -> Frontend:
        """Load the page and show an empty graph."""
        self.page.goto(self.server.url)
        self.page.wait_for_function("window.idfsr.ready()")
        self.blank()
        return self

    def command(self, name: str) -> None:
        """Do what a menu entry or a key would do."""
        self.page.evaluate("name => app.extensionManager.command.execute(name)", name)

    def blank(self) -> None:
        """An empty graph, seen at full size."""
        self.page.keyboard.press("Escape")
        self.command("Comfy.NewBlankWorkflow")
        self.page.wait_for_function("app.graph.nodes.length === 0")
        self.look(0, 0)

    def look(self, x: float, y: float, scale: float = 1) -> None:
        """Bring a place of the graph into the window's upper left corner."""
        self.page.evaluate("([x, y, scale]) => idfsr.look(x, y, scale)", [x, y, scale])

    def screenshot(self, name: str) -> Path:
        """The window as it is, as PNG."""
        path = self.pictures / f"{name}.png"
        self.page.screenshot(path=path)
        return path

    # Templates

    def templates(self) -> Locator:
        """Open Templates at this pack: the cards."""
        self.command("Comfy.BrowseTemplates")
        self.page.get_by_role("dialog").get_by_text(PACK, exact=True).click()
        cards = self.page.locator("[data-testid^='template-workflow-']")
        cards.first.wait_for()
        return cards

    def open_template(self, workflow: str) -> None:
        """Click a card of Templates, and wait for its graph."""
        self.templates()
        self.page.get_by_test_id(f"template-workflow-{workflow}").click()
        self._wait_for(workflow)

    def load(self, workflow: str) -> None:
        """Show what a click on the card shows, without drawing Templates' hundreds of others first."""
        self.page.evaluate("([pack, name]) => idfsr.load(pack, name)", [PACK, workflow])
        self._wait_for(workflow)

    def _wait_for(self, workflow: str) -> None:
        named = "name => document.title.includes(name) && app.graph.nodes.length > 0"
        self.page.wait_for_function(named, arg=workflow)
        self.page.wait_for_timeout(500)  # the models are looked for after the graph is there

    # The graph

    def state(self) -> dict[str, Any]:
        """The graph as frontend.js describes it."""
        return self.page.evaluate("idfsr.state()")

    def nodes(self, kind: str | None = None) -> list[Node]:
        """The nodes, or those of one type."""
        return [node for node in self.state()["nodes"] if kind in (None, node["type"])]

    def add(self, kind: str, x: float, y: float) -> str:
        """A new node of the graph: its id."""
        return self.page.evaluate("([kind, x, y]) => idfsr.add(kind, x, y)", [kind, x, y])

    def library(self, search: str) -> Locator:
        """Open the node library in the side bar and search it: what is found, folders too."""
        panel = self.page.locator(".sidebar-content-container")
        self.toggle_library()
        panel.locator("input").fill(search)
        entries = panel.get_by_role("treeitem")
        entries.get_by_text(search, exact=True).first.wait_for()
        return entries

    def toggle_library(self) -> None:
        """Open or close the node library."""
        self.page.locator(".node-library-tab-button").click()

    def place(self, name: str, x: float, y: float) -> str:
        """Take a node out of the node library with the mouse and put it on the graph, seen at full size: its id."""
        before = {node["id"] for node in self.nodes()}
        self.library(name).get_by_text(name, exact=True).last.click()
        self.page.mouse.move(x, y)
        self.page.mouse.click(x, y)
        self.page.wait_for_function("count => app.graph.nodes.length > count", arg=len(before))
        self.toggle_library()
        placed = self.page.evaluate("app.graph.nodes.map(node => String(node.id))")
        return next(key for key in placed if key not in before)

    def fit(self) -> None:
        """The whole graph in the window."""
        self.page.evaluate("app.canvas.deselectAll()")  # or only the selection would be fitted
        self.command("Comfy.Canvas.FitView")

    def select(self, node: str) -> None:
        """Choose one node, as a click on it does."""
        self.page.evaluate("id => app.canvas.selectNode(app.graph.nodes.find(it => String(it.id) === id))", node)

    def link(self, source: str, output: str, target: str, name: str) -> None:
        """Link the output of one node to the input of another, named as the nodes name them."""
        link = [source, output, target, name]
        assert self.page.evaluate("link => idfsr.link(...link)", link), f"cannot be linked: {link}"

    def run(self, *, fails: bool = False, limit: float = 300) -> dict[str, Any]:
        """Press Run and wait for the end: the history's entry of this prompt.

        Args:
            fails: an error is what the test waits for.

        Raises:
            AssertionError: the page shows an error, or the server refused to queue it.
            TimeoutError: no end within ``limit`` seconds.
        """
        before = set(self._history())
        self.page.get_by_test_id("queue-button").click()
        until = time.monotonic() + limit
        while time.monotonic() < until:
            self.page.wait_for_timeout(500)
            errors = self.state()["errors"]
            assert fails or not errors, json.dumps(errors, indent=1)
            if ended := [entry for key, entry in self._history().items() if key not in before]:
                return ended[0]
        raise TimeoutError(f"the prompt has not ended after {limit} s")

    def _history(self) -> dict[str, dict[str, Any]]:
        return self.page.request.get(f"{self.server.url}/history").json()

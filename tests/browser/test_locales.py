"""Both languages are shown: names, inputs and outputs of every node, and the tooltips under the mouse."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .frontend import Frontend, Node

ROOT = Path(__file__).resolve().parents[2]
LANGUAGES = sorted(path.parent.name for path in (ROOT / "locales").glob("*/nodeDefs.json"))


def texts(language: str) -> dict[str, Any]:
    """By node: what the language says."""
    return json.loads((ROOT / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module", params=LANGUAGES)
def language(opened: Frontend, request: pytest.FixtureRequest) -> Iterator[str]:
    """Chosen as the settings do it; the server keeps it, and the page is loaded anew. English again afterwards."""
    choose(opened, request.param)
    yield request.param
    choose(opened, "en")


def choose(comfy: Frontend, language: str) -> None:
    """Set the language, if it is another, and load the page."""
    if comfy.page.evaluate("app.extensionManager.setting.get('Comfy.Locale')") != language:
        comfy.page.evaluate("it => app.extensionManager.setting.set('Comfy.Locale', it)", language)
        comfy.open()


def test_there_are_english_and_chinese() -> None:
    assert {"en", "zh"} <= set(LANGUAGES)


def test_every_node_speaks_the_language(language: str, comfy: Frontend) -> None:
    said = texts(language)
    for index, kind in enumerate(said):
        comfy.add(kind, 400 * (index % 6), 600 * (index // 6))
    comfy.look(-100, -150, 0.6)
    comfy.screenshot(f"locale {language}")
    faults = [fault for node in comfy.nodes() for fault in other_words(node, said[node["type"]])]
    assert faults == []


def other_words(node: Node, said: dict[str, Any]) -> list[str]:
    """Where the node on the canvas differs from what the language says."""
    shown = {it["name"]: it["label"] for it in [*node["inputs"], *node["widgets"]]}
    pairs = [("title", node["title"], said["display_name"])]
    for name, words in said["inputs"].items():
        if name in shown:
            pairs.append((name, shown[name], words["name"]))
    pairs += [(key, node["outputs"][int(key)], words["name"]) for key, words in said.get("outputs", {}).items()]
    return [f"{node['type']} {place}: {found!r}, not {wanted!r}" for place, found, wanted in pairs if found != wanted]


def test_tooltips_and_the_node_library_speak_the_language(language: str, comfy: Frontend) -> None:
    said = texts(language)["IDFSRSelectFace"]
    assert comfy.library(said["display_name"]).count() > 0
    comfy.toggle_library()
    comfy.add("IDFSRSelectFace", 500, 400)
    box = comfy.nodes()[0]["box"]
    # A widget has its place only once it was drawn.
    drawn = comfy.page.wait_for_function("app.graph.nodes[0].widgets.find(it => it.name === 'how').last_y")
    widget = drawn.json_value()
    assert tooltip(comfy, 560, 385) == said["description"]
    assert tooltip(comfy, 503, 412) == said["inputs"]["faces"]["tooltip"]
    assert tooltip(comfy, 500 + box[2] - 5, 412) == said["outputs"]["0"]["tooltip"]
    assert tooltip(comfy, 500 + box[2] / 2, 400 + widget + 10) == said["inputs"]["how"]["tooltip"]


def test_help_speaks_the_language(language: str, comfy: Frontend) -> None:
    node = comfy.add("IDFSRRestoreFace", 300, 300)
    comfy.select(node)
    comfy.page.get_by_test_id("info-button").click()
    heading = comfy.page.locator(".node-help-content h1")
    heading.wait_for()
    assert heading.inner_text() == texts(language)["IDFSRRestoreFace"]["display_name"]
    comfy.screenshot(f"help {language}")


def tooltip(comfy: Frontend, x: float, y: float) -> str:
    """What appears where the mouse rests."""
    comfy.page.mouse.move(x - 1, y - 1)
    comfy.page.mouse.move(x, y)
    shown = comfy.page.locator(".node-tooltip")
    shown.wait_for()
    text = shown.inner_text()
    comfy.page.mouse.move(5, 900)
    shown.wait_for(state="hidden")
    return text

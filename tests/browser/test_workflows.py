"""Our workflows in the template browser, and on the canvas as they are loaded."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest

from idfsr_core.images import read_image

from .frontend import Frontend, Node

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted(path.stem for path in (ROOT / "workflows").glob("*.json"))

LOADERS = {"CheckpointLoaderSimple", "LoraLoader", "LoraLoaderModelOnly", "UpscaleModelLoader"}
"""They name files that a user brings, so on a new machine they alone may be outlined in red."""

BRINGING = ("4 ", "5 ")
"""How the workflows begin that go on with a user's own models."""


def test_the_template_browser_shows_our_workflows_with_their_pictures(comfy: Frontend) -> None:
    cards = comfy.templates()
    assert {card.get_attribute("data-testid") for card in cards.all()} == {
        f"template-workflow-{it}" for it in WORKFLOWS
    }
    for name in WORKFLOWS:
        thumbnail = comfy.page.get_by_test_id(f"template-workflow-{name}").locator("img").first
        comfy.page.wait_for_function("picture => picture.complete", arg=thumbnail.element_handle())
        *size, address = thumbnail.evaluate("it => [it.naturalHeight, it.naturalWidth, it.src]")
        assert size == list(read_image(ROOT / "workflows" / f"{name}.jpg").shape[-2:])
        assert "default" not in address  # what is shown for a workflow without a picture
    comfy.screenshot("templates")


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_loads_whole(comfy: Frontend, name: str) -> None:
    comfy.load(name)
    comfy.screenshot(f"loaded {name}")
    state = comfy.state()
    allowed = LOADERS if name.startswith(BRINGING) else set()
    assert any(node["type"].startswith("IDFSR") for node in state["nodes"])
    assert [node["type"] for node in state["nodes"] if not node["known"]] == []
    assert state["missing_nodes"] == []
    assert state["missing_media"] == []
    assert state["errors"] == []
    assert {model["node"] for model in state["missing_models"]} <= allowed
    assert all(model["address"].startswith("https://") for model in state["missing_models"]), "no download is offered"
    assert {node["type"] for node in state["nodes"] if node["red"]} <= allowed
    assert comfy.page.get_by_test_id("error-overlay").count() == bool(state["missing_models"])
    assert [fault for node in state["nodes"] if node["type"] not in allowed for fault in wrong_choices(node)] == []
    assert overlaps(state["nodes"]) == []


def wrong_choices(node: Node) -> list[str]:
    """Combo widgets that hold what they do not offer, as when a workflow's values have slipped by one."""
    return [
        f"{node['type']}.{widget['name']} = {widget['value']!r}"
        for widget in node["widgets"]
        if widget["choices"] is not None and widget["value"] not in widget["choices"]
    ]


def overlaps(nodes: list[Node]) -> list[str]:
    """Pairs of nodes that lie on each other, at the size that the page gives them; a title is 30 high."""

    def reach(node: Node) -> tuple[float, float, float, float]:
        x, y, width, height = node["box"]
        return x, y - 30, x + max(width, node["least"][0]), y + max(height, node["least"][1])

    pairs = []
    for one, other in combinations(nodes, 2):
        (left, top, right, bottom), (x, y, x_end, y_end) = reach(one), reach(other)
        if left < x_end and x < right and top < y_end and y < bottom:
            pairs.append(f"{one['title']} on {other['title']}")
    return pairs

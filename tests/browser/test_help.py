"""The help page of each node opens from the canvas."""

from __future__ import annotations

import json
from pathlib import Path

from .frontend import Frontend

ROOT = Path(__file__).resolve().parents[2]
NODES = sorted(json.loads((ROOT / "tests" / "nodes" / "schemas.json").read_text()))


def test_help_opens_for_every_node_with_its_picture(comfy: Frontend) -> None:
    """By the button with the i above the first node; then the panel on the right follows the selection."""
    faults = []
    for index, kind in enumerate(NODES):
        node = comfy.add(kind, 150 + 350 * (index % 2), 200 + 350 * index)
        comfy.look(0, 350 * index)
        comfy.select(node)
        if index == 0:
            comfy.page.get_by_test_id("info-button").click()
        wait_for_help(comfy, kind)
        faults += comfy.page.evaluate(FAULTS, kind)
        comfy.screenshot(f"help {kind}")
    assert faults == []


def wait_for_help(comfy: Frontend, kind: str) -> None:
    """The panel shows this node's page, and its pictures are loaded or have failed."""
    title = comfy.page.evaluate("kind => idfsr.stores().get('nodeDef').nodeDefsByName[kind].display_name", kind)
    comfy.page.wait_for_function(SHOWN, arg=title)


SHOWN = """title => {
  const text = document.querySelector(".node-help-content .markdown-content")
  const complete = [...(text?.querySelectorAll("img") ?? [])].every(it => it.complete)
  return text?.querySelector("h1")?.innerText === title && complete
}"""

FAULTS = """kind => {
  const help = document.querySelector(".node-help-content")
  const pictures = [...help.querySelectorAll("img")]
  const broken = pictures.filter(it => it.naturalWidth < 100).map(it => `${kind}: ${it.src} is not shown`)
  const wide = pictures.filter(it => it.clientWidth > help.clientWidth).map(it => `${kind}: ${it.src} is too wide`)
  return [...broken, ...wide, ...(pictures.length ? [] : [`${kind}: no picture`])]
}"""

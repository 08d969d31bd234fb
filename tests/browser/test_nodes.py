"""A new node on the canvas has the sockets and the widgets that its schema means it to have."""

from __future__ import annotations

import json
from pathlib import Path

from .frontend import Frontend

ROOT = Path(__file__).resolve().parents[2]
WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}


def test_only_values_are_widgets(comfy: Frontend) -> None:
    """The page makes a widget of every type that it knows one for: a box would always be given, never detected."""
    schemas = json.loads((ROOT / "tests" / "nodes" / "schemas.json").read_text())
    for index, kind in enumerate(schemas):
        comfy.add(kind, 400 * (index % 6), 600 * (index // 6))
    faults = []
    for node in comfy.nodes():
        values = {it["id"] for it in schemas[node["type"]]["inputs"] if it["type"] in WIDGETS}
        shown = {it["name"] for it in node["widgets"]} - {
            "control_after_generate",
            "fixed",
        }  # what a seed is followed by
        faults += [f"{node['title']}: {sorted(values ^ shown)}"] if values != shown else []
    assert faults == []

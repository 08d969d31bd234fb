"""What a node looks like from outside, in one form for the stand-in and for a real server's ``/object_info``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

SAME = ("display_name", "category", "description", "output_node", "has_intermediate_output")


def neutral(object_info: Mapping[str, Any]) -> dict[str, Any]:
    """The pack's nodes out of ``/object_info``, without what a server adds of its own.

    Args:
        object_info: node id -> what the server (or :func:`tests.comfy_types.node_info`) tells of it.

    Returns:
        node id -> plain JSON values; inputs in their order.
    """
    plain = json.loads(json.dumps(dict(object_info)))
    return {name: _node(info) for name, info in sorted(plain.items()) if name.startswith("IDFSR")}


def _node(info: dict[str, Any]) -> dict[str, Any]:
    told = {key: info[key] for key in SAME}
    told["search_aliases"] = info.get("search_aliases") or []
    told["inputs"] = [
        {"id": name, "section": section, "type": value[0], **_options(value[1] if len(value) > 1 else {})}
        for section, inputs in sorted(info["input"].items(), reverse=True)
        if section != "hidden"
        for name, value in inputs.items()
    ]
    told["outputs"] = [
        {"type": kind, "name": name, "tooltip": tip, "list": many}
        for kind, name, tip, many in zip(
            info["output"], info["output_name"], info["output_tooltips"], info["output_is_list"], strict=True
        )
    ]
    return told


def _options(options: dict[str, Any]) -> dict[str, Any]:
    """Without the constant that ComfyUI adds to each combo."""
    return {key: value for key, value in options.items() if not (key == "multiselect" and value is False)}

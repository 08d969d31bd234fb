"""What a saved graph must be like: values and sockets against the schemas, places on the canvas; without ComfyUI."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCHEMAS = json.loads((Path(__file__).parent / "nodes" / "schemas.json").read_text(encoding="utf-8"))
WIDGETS = ("INT", "FLOAT", "BOOLEAN", "STRING", "COMBO")
NOTE, TITLE = "MarkdownNote", 30  # height of a node's title bar, which lies above its place

Rectangle = tuple[float, float, float, float]


@dataclass(frozen=True)
class Core:
    """A node of ComfyUI itself, as far as the workflows use it: types of inputs by name, widgets, types of outputs."""

    inputs: dict[str, str]
    widgets: tuple[type | tuple[type, ...], ...] = ()
    outputs: tuple[str, ...] = ()


NUMBER = (int, float)
CORE = {
    "BatchImagesNode": Core({f"images.image{n}": "IMAGE" for n in range(10)}, (), ("IMAGE",)),
    "CheckpointLoaderSimple": Core({}, (str,), ("MODEL", "CLIP", "VAE")),
    "CLIPTextEncode": Core({"clip": "CLIP"}, (str,), ("CONDITIONING",)),
    "CreateVideo": Core({"images": "IMAGE", "audio": "AUDIO", "fps": "FLOAT"}, (NUMBER, int), ("VIDEO",)),
    "ImageBlend": Core({"image1": "IMAGE", "image2": "IMAGE"}, (NUMBER, str), ("IMAGE",)),
    "ImageCompositeMasked": Core(
        {"destination": "IMAGE", "source": "IMAGE", "mask": "MASK"}, (int, int, bool), ("IMAGE",)
    ),
    "ImageScale": Core({"image": "IMAGE"}, (str, int, int, str), ("IMAGE",)),
    "ImageStitch": Core({"image1": "IMAGE", "image2": "IMAGE"}, (str, bool, int, str), ("IMAGE",)),
    "ImageUpscaleWithModel": Core({"upscale_model": "UPSCALE_MODEL", "image": "IMAGE"}, (), ("IMAGE",)),
    "KSampler": Core(
        {"model": "MODEL", "positive": "CONDITIONING", "negative": "CONDITIONING", "latent_image": "LATENT"},
        (int, int, NUMBER, str, str, NUMBER),
        ("LATENT",),
    ),
    "LoraLoader": Core({"model": "MODEL", "clip": "CLIP"}, (str, NUMBER, NUMBER), ("MODEL", "CLIP")),
    "PreviewAny": Core({"source": "*"}, (), ("STRING",)),
    "PreviewImage": Core({"images": "IMAGE"}, (), ("IMAGE",)),
    "SaveImage": Core({"images": "IMAGE"}, (str,), ("IMAGE",)),
    "SaveVideo": Core({"video": "VIDEO"}, (str, str, str), ("VIDEO",)),
    "SetLatentNoiseMask": Core({"samples": "LATENT", "mask": "MASK"}, (), ("LATENT",)),
    "UpscaleModelLoader": Core({}, (str,), ("UPSCALE_MODEL",)),
    "VAEDecode": Core({"samples": "LATENT", "vae": "VAE"}, (), ("IMAGE",)),
    "VAEEncode": Core({"pixels": "IMAGE", "vae": "VAE"}, (), ("LATENT",)),
}
SEEDS = {"KSampler": 0}  # core nodes with a seed: which widget


def nodes_of(graph: dict[str, Any]) -> list[dict[str, Any]]:
    """All nodes but the notes."""
    return [node for node in graph["nodes"] if node["type"] != NOTE]


def notes_of(graph: dict[str, Any]) -> list[dict[str, Any]]:
    return [node for node in graph["nodes"] if node["type"] == NOTE]


def all_text(graph: dict[str, Any]) -> str:
    return "\n".join(note["widgets_values"][0] for note in notes_of(graph))


# --- against the schemas ----------------------------------------------------------------------------------------------


def fits(value: object, options: dict[str, Any]) -> bool:
    """Whether a widget of a node of ours takes the value."""
    kind = options["type"]
    if kind == "COMBO":
        return value in options["options"]
    if kind in ("INT", "FLOAT"):
        allowed = int if kind == "INT" else NUMBER
        return isinstance(value, allowed) and options["min"] <= value <= options["max"]
    return isinstance(value, bool if kind == "BOOLEAN" else str)


def check_widgets(node: dict[str, Any]) -> None:
    """Values in the order of the schema, and "fixed" after each seed."""
    left = list(node["widgets_values"])
    if node["type"] in CORE:
        for place, kind in enumerate(CORE[node["type"]].widgets):
            assert isinstance(left.pop(0), kind), (node["type"], place)
            if SEEDS.get(node["type"]) == place:
                assert left.pop(0) == "fixed", node["type"]
    else:
        for options in widgets_of(node["type"]):
            assert fits(left.pop(0), options), (node["type"], options["id"])
            if options.get("control_after_generate"):
                assert left.pop(0) == "fixed", node["type"]
    assert left == [], node["type"]


def widgets_of(kind: str) -> list[dict[str, Any]]:
    inputs = SCHEMAS[kind]["inputs"]
    return [each for each in inputs if each["type"] in WIDGETS and not each.get("forceInput")]


def input_types(kind: str) -> dict[str, str]:
    """Types of all inputs by name; those that grow under all the names they may have."""
    if kind in CORE:
        return CORE[kind].inputs
    types: dict[str, str] = {}
    for each in SCHEMAS[kind]["inputs"]:
        if each["type"] == "COMFY_AUTOGROW_V3":
            types |= {f"{each['id']}.{name}": "IMAGE" for name in each["template"]["names"]}
        else:
            types[each["id"]] = each["type"]
    return types


def output_types(kind: str) -> list[str]:
    return list(CORE[kind].outputs) if kind in CORE else [each["type"] for each in SCHEMAS[kind]["outputs"]]


def check_sockets(node: dict[str, Any]) -> None:
    """Inputs and outputs have the schema's names and types, and no required socket is left open."""
    types = input_types(node["type"])
    for each in node["inputs"]:
        if "widget" not in each:
            assert each["type"] == types[each["name"]], (node["type"], each["name"])
    assert [each["type"] for each in node["outputs"]] == output_types(node["type"]), node["type"]
    given = {each["name"] for each in node["inputs"] if each["link"] is not None}
    for each in SCHEMAS.get(node["type"], {}).get("inputs", []):
        if each["section"] == "required" and each["type"] not in WIDGETS:
            assert any(name.split(".")[0] == each["id"] for name in given), (node["type"], each["id"])


def accepts(wanted: str, given: str) -> bool:
    return wanted == "*" or given in wanted.split(",")


# --- geometry ---------------------------------------------------------------------------------------------------------


def rectangle(node: dict[str, Any]) -> Rectangle:
    """Left, top, right, bottom of a node with its title."""
    (x, y), (width, height) = node["pos"], node["size"]
    return x, y - TITLE, x + width, y + height


def bounding(group: dict[str, Any]) -> Rectangle:
    x, y, width, height = group["bounding"]
    return x, y, x + width, y + height


def overlap(a: Rectangle, b: Rectangle) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def within(inner: Rectangle, outer: Rectangle) -> bool:
    return outer[0] <= inner[0] and outer[1] <= inner[1] and inner[2] <= outer[2] and inner[3] <= outer[3]


def members(graph: dict[str, Any], group: dict[str, Any]) -> list[dict[str, Any]]:
    return [node for node in graph["nodes"] if within(rectangle(node), bounding(group))]

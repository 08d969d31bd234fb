"""The example workflows and the subgraph blueprint: read as ComfyUI's front end reads them, without ComfyUI."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import combinations, pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

import cv2
import pytest

from tests.graph_files import (
    CORE,
    SCHEMAS,
    accepts,
    all_text,
    bounding,
    check_sockets,
    check_widgets,
    members,
    nodes_of,
    notes_of,
    overlap,
    rectangle,
    widgets_of,
)

ROOT = Path(__file__).resolve().parent.parent
NAMES = [
    "1 Restore a face",
    "2 Restore and fit",
    "3 Group photo",
    "4 From 128 to 512",
    "5 Refine with your checkpoint",
    "6 Repair identity after an edit",
    "7 Video frames",
    "8 Measure",
]
BLUEPRINT = ROOT / "subgraphs" / "Restore Person.json"
THUMBNAIL, HEAVIEST = (512, 512), 150_000  # pixels, bytes
INSIDE, OUTSIDE = -10, -20  # ids of a subgraph's own inputs and outputs
NORMAL, BYPASSED = 0, 4


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(params=NAMES)
def graph(request: pytest.FixtureRequest) -> dict[str, Any]:
    """One workflow after the other."""
    return read(ROOT / "workflows" / f"{request.param}.json")


@pytest.fixture
def blueprint() -> dict[str, Any]:
    return read(BLUEPRINT)


# --- every workflow ---------------------------------------------------------------------------------------------------


def test_the_workflows_are_these() -> None:
    assert sorted(path.stem for path in (ROOT / "workflows").glob("*.json")) == NAMES
    assert sorted(path.stem for path in (ROOT / "workflows").glob("*.jpg")) == NAMES
    assert {path.suffix for path in (ROOT / "workflows").iterdir()} == {".json", ".jpg"}


def test_they_are_in_the_form_that_the_front_end_saves(graph: dict[str, Any]) -> None:
    assert graph["version"] == 0.4
    assert graph["extra"]["workflowRendererVersion"] == "LG", "else the newer renderer does not scale the layout"
    ids = [node["id"] for node in graph["nodes"]]
    assert len(set(ids)) == len(ids)
    assert max(ids) == graph["last_node_id"]
    assert max(link[0] for link in graph["links"]) == graph["last_link_id"]


def test_their_ids_differ() -> None:
    ids = {read(ROOT / "workflows" / f"{name}.json")["id"] for name in NAMES}
    assert len(ids) == len(NAMES)


def test_every_node_is_known_and_says_where_it_is_from(graph: dict[str, Any]) -> None:
    for node in nodes_of(graph):
        assert node["type"] in SCHEMAS or node["type"] in CORE
        properties = node["properties"]
        assert properties["Node name for S&R"] == node["type"]
        assert properties["cnr_id"] == ("idfsr" if node["type"] in SCHEMAS else "comfy-core")


def test_widgets_have_values_that_they_take(graph: dict[str, Any]) -> None:
    for node in nodes_of(graph):
        check_widgets(node)


def test_sockets_are_those_of_the_schemas(graph: dict[str, Any]) -> None:
    for node in nodes_of(graph):
        check_sockets(node)


def test_links_agree_with_both_ends(graph: dict[str, Any]) -> None:
    nodes = {node["id"]: node for node in graph["nodes"]}
    links = {link[0]: link for link in graph["links"]}
    assert len(links) == len(graph["links"])
    for number, source, output, target, place, kind in graph["links"]:
        given, taken = nodes[source]["outputs"][output], nodes[target]["inputs"][place]
        assert number in given["links"]
        assert taken["link"] == number
        assert given["type"] == kind
        assert accepts(taken["type"], kind), (nodes[target]["type"], taken["name"])
    assert sum(len(each["links"] or []) for node in nodes.values() for each in node["outputs"]) == len(links)
    assert sum(each["link"] is not None for node in nodes.values() for each in node["inputs"]) == len(links)


def test_nodes_come_after_what_they_take(graph: dict[str, Any]) -> None:
    order = {node["id"]: node["order"] for node in graph["nodes"]}
    assert len(set(order.values())) == len(order)
    for _, source, _, target, _, _ in graph["links"]:
        assert order[source] < order[target]


def test_every_node_leads_to_something_that_is_shown(graph: dict[str, Any]) -> None:
    """ComfyUI runs only what an output node needs; the rest would stay empty."""
    outputs = ("PreviewImage", "SaveImage", "SaveVideo", "PreviewAny", "IDFSRSaveIdentity")
    wanted = {node["id"] for node in graph["nodes"] if node["type"] in outputs}
    for _ in graph["nodes"]:
        wanted |= {source for _, source, _, target, _, _ in graph["links"] if target in wanted}
    assert wanted == {node["id"] for node in nodes_of(graph)}


def test_only_the_lora_is_bypassed(graph: dict[str, Any]) -> None:
    for node in graph["nodes"]:
        assert node["mode"] == (BYPASSED if node["type"] == "LoraLoader" else NORMAL), node["type"]


def test_nothing_overlaps(graph: dict[str, Any]) -> None:
    for first, second in combinations(graph["nodes"], 2):
        assert not overlap(rectangle(first), rectangle(second)), (first["type"], second["type"])
    for first, second in combinations(graph["groups"], 2):
        assert not overlap(bounding(first), bounding(second)), (first["title"], second["title"])


def test_titles_fit_their_nodes(graph: dict[str, Any]) -> None:
    """A node grows with its title, over its neighbour if need be."""
    for node in graph["nodes"]:
        assert 8 * len(node.get("title", "")) <= node["size"][0], node["title"]


def test_every_node_is_in_one_group_and_no_note_is(graph: dict[str, Any]) -> None:
    inside = [node["id"] for group in graph["groups"] for node in members(graph, group)]
    assert sorted(inside) == sorted(node["id"] for node in nodes_of(graph))
    for note in notes_of(graph):
        assert not any(overlap(rectangle(note), bounding(group)) for group in graph["groups"])


def test_groups_are_numbered_as_the_note_numbers_them(graph: dict[str, Any]) -> None:
    """The note's list and the groups are the same steps: "1 The small picture" is "1. **The small picture**"."""
    numbered = [group["title"] for group in graph["groups"] if group["title"][0].isdigit()]
    assert [title.split()[0] for title in numbered] == [str(n) for n in range(1, len(numbered) + 1)]
    for title in numbered:
        number, name = title.split(maxsplit=1)
        assert f"{number}. **{name}**" in all_text(graph)
    for left, right in pairwise(numbered):
        places = {group["title"]: bounding(group) for group in graph["groups"]}
        assert places[left][:2] != places[right][:2]
        assert places[left][0] <= places[right][0], f"{right} is left of {left}"


def measured() -> list[str]:
    """Identity similarity at 8x, 16x and 32x with found landmarks, as docs/RESULTS.md has it."""
    sets = json.loads((ROOT / "docs" / "results" / "compact.json").read_text())["sets"]
    ours = [each for each in sets if each["method"] == "pooled" and each["landmarks"] == "found"]
    values = {each["scale"]: fmean(each["figures"]["identity.mbf_y1"]) for each in ours}
    return [f"{values[scale]:.2f}".lstrip("0") for scale in (8, 16, 32)]


def test_a_note_says_what_to_replace_and_what_to_expect(graph: dict[str, Any]) -> None:
    text = all_text(graph)
    for said in (
        "*Sample Person*",
        "does not exist",
        "Load Image",
        "no evidence",
        *measured(),
        "good photos",
        "non-commercial",
    ):
        assert said in text
    samples = [node for node in graph["nodes"] if node["type"] == "IDFSRSamplePerson"]
    assert samples
    assert all("replace" in node["title"] for node in samples)
    assert len({node["bgcolor"] for node in samples}) == 1, "the note calls them green"


def test_models_that_must_be_downloaded_are_named(graph: dict[str, Any]) -> None:
    for node in graph["nodes"]:
        if node["type"] not in ("UpscaleModelLoader", "CheckpointLoaderSimple"):
            assert "models" not in node["properties"]
            continue
        (model,) = node["properties"]["models"]
        assert node["widgets_values"][0] == model["name"]
        assert model["url"].startswith("https://huggingface.co/Comfy-Org/")
        assert model["url"].endswith("/" + model["name"])
        assert model["directory"] in ("upscale_models", "checkpoints")
        assert model["name"] in all_text(graph)
        assert model["url"] in all_text(graph)
        assert f"models/{model['directory']}" in all_text(graph)


@pytest.mark.parametrize("name", NAMES)
def test_the_picture_is_small_and_of_the_common_size(name: str) -> None:
    path = ROOT / "workflows" / f"{name}.jpg"
    assert path.stat().st_size < HEAVIEST
    pixels = cv2.imread(str(path))
    assert pixels is not None
    assert pixels.shape[1::-1] == THUMBNAIL
    assert pixels.std() > 20, "an empty picture"


def test_a_group_photo_has_two_people() -> None:
    graph = read(ROOT / "workflows" / "3 Group photo.json")
    people = [node["widgets_values"][0] for node in graph["nodes"] if node["type"] == "IDFSRSamplePerson"]
    assert len(set(people)) == 2
    chosen = [node["widgets_values"][0] for node in graph["nodes"] if node["type"] == "IDFSRSelectFace"]
    assert chosen == ["like identity"] * 2


# --- the blueprint ----------------------------------------------------------------------------------------------------


def inner(blueprint: dict[str, Any]) -> dict[str, Any]:
    (definition,) = blueprint["definitions"]["subgraphs"]
    return definition


def test_the_blueprint_is_one_node_with_its_definition(blueprint: dict[str, Any]) -> None:
    (node,) = blueprint["nodes"]
    definition = inner(blueprint)
    assert node["type"] == definition["id"]
    assert node["title"] == definition["name"] == BLUEPRINT.stem
    assert definition["category"].split("/")[0] == "IDFSR"
    assert len(definition["description"]) > 40
    sockets = {each["name"]: each["type"] for each in node["inputs"] if "widget" not in each}
    assert sockets == {"image": "IMAGE", "references": "IMAGE"}
    assert [each["type"] for each in node["outputs"]] == ["IMAGE"]
    assert [each["name"] for each in definition["inputs"]] == [each["name"] for each in node["inputs"]]


def test_the_blueprints_nodes_are_sound(blueprint: dict[str, Any]) -> None:
    nodes = inner(blueprint)["nodes"]
    assert all(node["type"] in SCHEMAS for node in nodes), "it needs nothing but this pack"
    for node in nodes:
        check_widgets(node)
        check_sockets(node)
    for first, second in combinations(nodes, 2):
        assert not overlap(rectangle(first), rectangle(second)), (first["type"], second["type"])


def ends(definition: dict[str, Any], link: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    """Type at both ends of a link in the definition, and whether that end knows the link."""
    nodes = {node["id"]: node for node in definition["nodes"]}
    if link["origin_id"] == INSIDE:
        given = definition["inputs"][link["origin_slot"]]
        yield given["type"], link["id"] in given["linkIds"]
    else:
        given = nodes[link["origin_id"]]["outputs"][link["origin_slot"]]
        yield given["type"], link["id"] in given["links"]
    if link["target_id"] == OUTSIDE:
        taken = definition["outputs"][link["target_slot"]]
        yield taken["type"], link["id"] in taken["linkIds"]
    else:
        taken = nodes[link["target_id"]]["inputs"][link["target_slot"]]
        yield taken["type"], taken["link"] == link["id"]


def test_the_blueprints_links_agree_with_both_ends(blueprint: dict[str, Any]) -> None:
    definition = inner(blueprint)
    for link in definition["links"]:
        (given, first), (taken, second) = ends(definition, link)
        assert first
        assert second
        assert given == link["type"]
        assert accepts(taken, given)


def test_the_blueprint_shows_widgets_that_are_there(blueprint: dict[str, Any]) -> None:
    (node,) = blueprint["nodes"]
    shown = node["properties"]["proxyWidgets"]
    kinds = {str(each["id"]): each["type"] for each in inner(blueprint)["nodes"]}
    assert len(shown) >= 3
    for number, name in shown:
        names = [each["id"] for each in widgets_of(kinds[number])]
        assert name in names, (kinds[number], name)

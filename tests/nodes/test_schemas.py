"""What the nodes look like from outside: a snapshot, and rules that every node keeps."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.comfy_types import WIDGETS, Input, node_info
from tests.nodes.neutral import neutral
from tests.nodes.running import TINY, Pack

ROOT = Path(__file__).resolve().parent.parent.parent
SNAPSHOT = Path(__file__).with_name("schemas.json")
NODES = {
    "IDFSRLoadModel": "Load IDFSR Model",
    "IDFSRLoadFaceAnalyzer": "Load Face Analyzer",
    "IDFSRDetectFaces": "Detect Faces",
    "IDFSRSelectFace": "Select Face",
    "IDFSRCropFace": "Crop Face",
    "IDFSRMaskFace": "Mask Face",
    "IDFSRWarpReference": "Warp Reference",
    "IDFSREncodeIdentity": "Encode Identity",
    "IDFSRFitIdentity": "Fit Identity",
    "IDFSRSaveIdentity": "Save Identity",
    "IDFSRLoadIdentity": "Load Identity",
    "IDFSRRestoreFace": "Restore Face",
    "IDFSRPasteFace": "Paste Face",
    "IDFSRCompareIdentity": "Compare Identity",
    "IDFSRDegradeFace": "Degrade Face",
    "IDFSREvaluate": "Evaluate Restoration",
    "IDFSRSamplePerson": "Sample Person",
}
HEAVY = ("diffusers", "insightface", "onnxruntime", "accelerate", "scipy", "sympy", "cv2")


def infos(pack: Pack) -> dict[str, dict[str, Any]]:
    return {name: node_info(node) for name, node in pack.nodes.items()}


def inputs_of(pack: Pack) -> list[tuple[str, Input]]:
    """Every input with its node's name before it."""
    return [(f"{name}.{each.id}", each) for name, node in pack.nodes.items() for each in node.GET_SCHEMA().inputs]


def test_the_nodes_and_their_names(pack: Pack) -> None:
    assert {name: info["display_name"] for name, info in infos(pack).items()} == NODES
    assert list(pack.nodes) == list(NODES)


def test_schemas_are_as_they_were(pack: Pack, request: pytest.FixtureRequest) -> None:
    """Saved workflows hang on names, types and the order of widgets: change them knowingly, with --renew-golden."""
    pack.bridge.model_path(TINY).unlink()  # lists show what a new installation has
    found = neutral(infos(pack))
    if request.config.getoption("--renew-golden"):
        SNAPSHOT.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    known = json.loads(SNAPSHOT.read_text(encoding="utf-8"))
    assert list(found) == list(known)
    for name, info in found.items():
        assert info == known[name], name


def test_the_package_has_the_new_schema_only(pack: Pack) -> None:
    assert not hasattr(pack.package, "NODE_CLASS_MAPPINGS"), "with it ComfyUI would ignore comfy_entrypoint"
    assert (ROOT / pack.package.WEB_DIRECTORY).resolve() == ROOT / "nodes" / "web"


def test_every_node_says_what_it_does(pack: Pack) -> None:
    for name, info in infos(pack).items():
        assert info["category"].split("/")[0] == "IDFSR", name
        assert len(info["description"]) > 40, name
        assert len(info["search_aliases"]) >= 3, name
        assert all(info["output_tooltips"]), name
        assert all(output.id for output in pack.nodes[name].GET_SCHEMA().outputs), name


def test_every_input_has_a_tooltip(pack: Pack) -> None:
    for name, each in inputs_of(pack):
        assert len(each.as_dict().get("tooltip") or "") >= 15, name


def test_every_number_has_its_range_and_step(pack: Pack) -> None:
    for name, each in inputs_of(pack):
        if each.io_type in ("INT", "FLOAT"):
            options = each.as_dict()
            assert {"default", "min", "max"} <= set(options), name
            assert options["min"] <= options["default"] <= options["max"], name
            if each.io_type == "FLOAT":
                assert options.get("step"), f"{name}: ComfyUI's own step is 0.5"


def test_seeds_can_be_drawn_anew(pack: Pack) -> None:
    seeds = [(name, each) for name, each in inputs_of(pack) if each.id.endswith("seed")]
    assert len(seeds) >= 3
    for name, each in seeds:
        assert each.as_dict().get("control_after_generate"), name


def test_sockets_come_first_and_advanced_widgets_last(pack: Pack) -> None:
    def rank(each: Input) -> int:
        if each.io_type not in WIDGETS or each.options.get("force_input"):
            return 0
        return 2 if each.options.get("advanced") else 1

    for name, node in pack.nodes.items():
        ranks = [rank(each) for each in node.GET_SCHEMA().inputs]
        assert ranks == sorted(ranks), f"{name}: {[each.id for each in node.GET_SCHEMA().inputs]}"


def test_execute_takes_what_the_schema_offers(pack: Pack) -> None:
    for name, node in pack.nodes.items():
        schema = {each.id: each for each in node.GET_SCHEMA().inputs}
        parameters = dict(inspect.signature(node.execute).parameters)
        rest = [each for each in parameters.values() if each.kind is inspect.Parameter.VAR_KEYWORD]
        named = set(parameters) - {each.name for each in rest}
        assert named <= set(schema) if rest else named == set(schema), name
        for each in schema.values():
            if each.optional and each.id in parameters:
                default = parameters[each.id].default
                assert default is not inspect.Parameter.empty, f"{name}.{each.id} may be missing"


def test_loading_the_pack_imports_nothing_heavy() -> None:
    """ComfyUI starts for everybody who has the pack, also for those who do not use it today."""
    code = f"""
import sys, tempfile, pathlib, torch, numpy
from tests.comfy_stand_in import PACK, StandIn, load_pack
stand_in = StandIn()
stand_in.folders.reset(pathlib.Path(tempfile.mkdtemp()))
stand_in.install()
before = set(sys.modules)
load_pack()
new = set(sys.modules) - before
print(*sorted(new & set({HEAVY!r})), *sorted(name for name in new if name.startswith(PACK + ".idfsr_core.")))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    light = {f"idfsr_pack.idfsr_core.{name}" for name in ("damage", "errors", "face_rule", "options", "runtime")}
    assert set(done.stdout.split()) <= light

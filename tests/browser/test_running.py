"""Run is pressed in the browser, and pictures are on the canvas."""

from __future__ import annotations

from typing import Any

from .frontend import Frontend


def check_success(entry: dict[str, Any]) -> None:
    """The history says so."""
    assert entry["status"]["status_str"] == "success", entry["status"]["messages"]


def wait_for_pictures(comfy: Frontend, *kinds: str) -> None:
    """Every node of these types shows a picture that the browser has loaded."""
    comfy.fit()  # the page loads pictures as they come into sight
    shows = "nodes => nodes.length > 0 && nodes.every(it => it.imgs?.length && it.imgs.every(p => p.naturalWidth > 0))"
    for kind in kinds:
        comfy.page.wait_for_function(f"kind => ({shows})(idfsr.nodes().filter(it => it.type === kind))", arg=kind)


def test_restore_a_face_shows_every_step(comfy: Frontend) -> None:
    comfy.open_template("1 Restore a face")
    check_success(comfy.run())
    steps = ("DetectFaces", "CropFace", "MaskFace", "WarpReference", "RestoreFace", "EncodeIdentity")
    wait_for_pictures(comfy, *(f"IDFSR{step}" for step in steps))
    comfy.screenshot("run 1 Restore a face")
    state = comfy.state()
    assert state["errors"] == []
    assert [node["title"] for node in state["nodes"] if node["red"]] == []
    saved = next(node for node in state["nodes"] if node["type"] == "SaveImage")
    assert all(min(size) >= 128 for size in saved["pictures"])


def test_the_blueprint_is_in_the_node_library_and_runs(comfy: Frontend) -> None:
    """A sample person's bad picture and good photos go in; the picture that comes out is on the canvas."""
    blueprint = comfy.place("Restore Person", 700, 200)
    person = comfy.add("IDFSRSamplePerson", 200, 200)
    preview = comfy.add("PreviewImage", 1200, 200)
    comfy.link(person, "picture", blueprint, "image")
    comfy.link(person, "references", blueprint, "references")
    comfy.link(blueprint, "restored", preview, "images")
    state = comfy.state()
    assert state["missing_nodes"] == []
    assert [node["title"] for node in state["nodes"] if not node["known"]] == []
    check_success(comfy.run())
    wait_for_pictures(comfy, "PreviewImage")
    comfy.screenshot("run Restore Person")


def test_an_error_is_said_in_words(comfy: Frontend) -> None:
    """A picture without a face: the page names the node and says what to do."""
    picture = comfy.add("EmptyImage", 100, 150)
    analyzer = comfy.add("IDFSRLoadFaceAnalyzer", 100, 500)
    found = comfy.add("IDFSRDetectFaces", 500, 150)
    selected = comfy.add("IDFSRSelectFace", 900, 150)
    crop = comfy.add("IDFSRCropFace", 1200, 150)
    preview = comfy.add("PreviewImage", 1200, 400)
    comfy.link(picture, "IMAGE", found, "image")
    comfy.link(analyzer, "analyzer", found, "analyzer")
    comfy.link(found, "faces", selected, "faces")
    comfy.link(picture, "IMAGE", crop, "image")
    comfy.link(selected, "face", crop, "face")
    comfy.link(crop, "crop", preview, "images")
    assert comfy.run(fails=True)["status"]["status_str"] == "error"
    (error,) = comfy.state()["errors"]
    assert error["node_id"] == selected
    overlay = comfy.page.get_by_test_id("error-overlay")
    assert "Select Face" in overlay.inner_text()
    overlay.get_by_test_id("error-overlay-see-errors").click()
    comfy.page.get_by_text("no face").first.wait_for()
    comfy.screenshot("error")

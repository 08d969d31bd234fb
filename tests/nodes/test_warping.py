"""Warp Reference: good photos brought onto each face."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from idfsr_core.commands.demo import SAMPLES
from idfsr_core.images import read_image
from tests.nodes.running import Pack
from tests.nodes.test_faces import BOX, pictures


def selected(pack: Pack, boxes: Any) -> Any:
    image = pictures(len(boxes))
    faces, *_ = pack.run("IDFSRDetectFaces", image=image, analyzer=pack.stub_analyzer(), bounding_box=boxes)
    return pack.run("IDFSRSelectFace", faces=faces, if_none="pass through")[0]


def stub(pack: Pack) -> Any:
    """An analyzer that sees one face in the middle of every reference that is not black."""
    analyzer = pack.stub_analyzer((0.5, 0.5, 0.4))
    found = analyzer.finder.analyze
    analyzer.finder.analyze = lambda image, threshold=None: [] if float(image.max()) == 0 else found(image)
    return analyzer


def references(count: int = 3) -> torch.Tensor:
    """Copies of one smooth picture in different light, so that all show "one person"."""
    light = torch.linspace(0.7, 1, count).view(-1, 1, 1, 1)
    ramp = torch.linspace(0.2, 0.9, 160)
    return (ramp.view(1, -1, 1, 1) * ramp.view(1, 1, -1, 1)).expand(count, -1, -1, 3) * light


def test_count_photos_for_each_face_the_best_first(pack: Pack) -> None:
    face = selected(pack, [[BOX], [], [BOX]])
    warped, coverage, which = pack.run(
        "IDFSRWarpReference", references=references(), face=face, analyzer=stub(pack), count=2
    )
    assert warped.shape == (6, 128, 128, 3)
    assert coverage.shape == (6, 128, 128)
    assert coverage[0].max() == 1
    assert warped[2:4].max() == coverage[2:4].max() == 0
    assert torch.equal(warped[:2], warped[4:])
    assert which.startswith("0: reference ")
    assert "1: no face" in which
    assert pack.said[-1] == which


@pytest.mark.parametrize("count", [1, 2])
def test_one_photo_by_its_number(pack: Pack, count: int) -> None:
    face = selected(pack, [[BOX]])
    run = lambda **more: pack.run(
        "IDFSRWarpReference", references=references(), face=face, analyzer=stub(pack), count=count, **more
    )
    dark, _, which = run(choose="index", index=0)
    bright, *_ = run(choose="index", index=2)
    assert dark.shape == (1, 128, 128, 3)
    assert which.startswith("reference 0")
    assert bright.mean() > dark.mean() * 1.2


def test_references_without_a_face_are_left_out_and_named(pack: Pack) -> None:
    mixed = references().clone()
    mixed[1] = 0
    face, errors = selected(pack, [[BOX]]), pack.core("errors")
    _, _, which = pack.run("IDFSRWarpReference", references=mixed, face=face, analyzer=stub(pack), count=8)
    assert "reference 1 left out: no face found" in which
    with pytest.raises(errors.ArgumentError, match=r"index: reference 1 left out.*reference 0, reference 2"):
        pack.run("IDFSRWarpReference", references=mixed, face=face, analyzer=stub(pack), choose="index", index=1)
    with pytest.raises(errors.ArgumentError, match="index: no reference 9"):
        pack.run("IDFSRWarpReference", references=mixed, face=face, analyzer=stub(pack), choose="index", index=9)
    with pytest.raises(errors.FaceNotFoundError, match="at least one photo with a clear face"):
        pack.run("IDFSRWarpReference", references=mixed[1:2], face=face, analyzer=stub(pack))


def test_refine_needs_the_crop(pack: Pack) -> None:
    face, errors = selected(pack, [[BOX]]), pack.core("errors")
    wired = {"references": references(), "face": face, "analyzer": stub(pack), "refine": True}
    with pytest.raises(errors.ArgumentError, match="connect the crop"):
        pack.run("IDFSRWarpReference", **wired)
    with pytest.raises(errors.ArgumentError, match="2 of 128x128 pixels for 1 faces"):
        pack.run("IDFSRWarpReference", **wired, crop=torch.rand(2, 128, 128, 3))
    crop, *_ = pack.run("IDFSRCropFace", image=pictures(), face=face)
    warped, *_ = pack.run("IDFSRWarpReference", **wired, crop=crop)
    assert warped.shape == (1, 128, 128, 3)


def test_an_empty_batch_and_an_interrupt(pack: Pack) -> None:
    face = selected(pack, [[BOX]])
    with pytest.raises(pack.core("errors").ImageError, match="references: 0 pictures"):
        pack.run("IDFSRWarpReference", references=references()[:0], face=face, analyzer=stub(pack))
    pack.interrupt()
    with pytest.raises(pack.interrupted):
        pack.run("IDFSRWarpReference", references=references(), face=face, analyzer=stub(pack))


def test_the_same_as_in_the_core_with_the_shipped_model(pack: Pack) -> None:
    """The photos of a sample person on their face in the scene: what restore_image gives to the denoiser."""
    analyzer = pack.bridge.load_analyzer()
    scene = read_image(SAMPLES / "scene.jpg").movedim(1, -1)
    photos = torch.cat([read_image(SAMPLES / "ben" / f"{k}.jpg") for k in range(2, 7)])
    faces, *_ = pack.run("IDFSRDetectFaces", image=scene, analyzer=analyzer)
    face, _ = pack.run("IDFSRSelectFace", faces=faces, how="index", index=1)
    crop, *_ = pack.run("IDFSRCropFace", image=scene, face=face)
    warped, coverage, which = pack.run(
        "IDFSRWarpReference", references=photos.movedim(1, -1), face=face, analyzer=analyzer, crop=crop
    )
    core = pack.core("references").prepare_references(
        analyzer.finder, analyzer.encoder, ((str(k), photos[k : k + 1]) for k in range(5))
    )
    options = pack.core("options").RestoreOptions(face=1)
    ready = pack.core("restoration").prepare_face(
        pack.shipped().bundle, scene.movedim(-1, 1), core, core.identity, options
    )
    assert f"reference {ready.warped.names[0]}: " in which
    assert "alike" in which
    assert (warped.movedim(-1, 1) - ready.cond.references[0]).abs().max() < 1e-5
    assert torch.equal(coverage[:, None], ready.cond.reference_coverage[0])

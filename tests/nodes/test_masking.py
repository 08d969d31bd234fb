"""Mask Face: from landmarks, or what the user painted."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.nodes.running import Pack
from tests.nodes.test_faces import BOX, pictures

BATCH = [[BOX], [], [BOX]]


def cropped(pack: Pack, boxes: Any = BATCH) -> dict[str, Any]:
    """Crop, alignment and face of a batch in which the second picture has none."""
    image = pictures(len(boxes))
    faces, *_ = pack.run("IDFSRDetectFaces", image=image, analyzer=pack.stub_analyzer(), bounding_box=boxes)
    face, _ = pack.run("IDFSRSelectFace", faces=faces, if_none="pass through")
    crop, alignment, _ = pack.run("IDFSRCropFace", image=image, face=face)
    return {"crop": crop, "alignment": alignment, "face": face}


def test_the_mask_is_that_of_the_core(pack: Pack) -> None:
    given = cropped(pack)
    masked, mask, note = pack.run("IDFSRMaskFace", **given)
    steps, options = pack.core("steps"), pack.core("options").RestoreOptions()
    place, face = given["alignment"].items[0], given["face"].faces[0]
    points = torch.as_tensor(place.to_crop(face.landmarks), dtype=torch.float32)[None]
    assert torch.equal(mask[:1], steps.make_mask(points, given["alignment"].scales[0], options)[:, 0])
    assert mask[1].max() == 0
    assert torch.equal(masked[1], given["crop"][1])
    assert torch.equal(masked[mask == 0], given["crop"][mask == 0])
    grey, hard, _ = pack.run("IDFSRMaskFace", **given, mode="hard")
    assert (hard == 1).any()
    assert torch.allclose(grey[hard == 1], torch.tensor(0.5))
    assert "landmarks" in note
    assert "auto forgets" in note
    assert pack.said[-2:] == [note, "drawn from the face's landmarks"]


def test_widgets_change_the_mask(pack: Pack) -> None:
    given = cropped(pack, [[BOX]])
    area = lambda **widgets: float(pack.run("IDFSRMaskFace", **given, mode="hard", **widgets)[1].sum())
    usual = area()
    assert area(grow=0.2) > usual > area(grow=-0.1)
    assert area(feather=0.3) > usual > area(feather=0.0)
    assert area(forehead=1.0) > usual > area(forehead=0.0)
    soft = pack.run("IDFSRMaskFace", **given, mode="soft")[1]
    assert float(soft.max()) < 1  # this face is two pixels of the crop a pixel


@pytest.mark.parametrize(
    ("size", "words"),
    [((100, 200), "cut out"), ((128, 128), "as it lies"), ((64, 64), "resized"), ((300, 600), "resized")],
)
def test_a_painted_mask_of_any_size(pack: Pack, size: tuple[int, int], words: str) -> None:
    given = cropped(pack)
    _, mask, note = pack.run("IDFSRMaskFace", **given, mask=torch.ones(1, *size))
    assert words in note
    assert "landmarks are not used" in note
    assert mask[0].mean() > 0.5
    assert mask[1].max() == 0
    assert torch.equal(mask[0], mask[2])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"face": None}, "neither is connected"),
        ({"mask": torch.zeros(1, 64, 64)}, "nothing painted"),
        ({"mask": torch.ones(2, 128, 128)}, "2 masks for 3 crops"),
        ({"crop": torch.rand(2, 128, 128, 3)}, "2 of 128x128 pixels for 3 faces"),
        ({"crop": torch.rand(3, 64, 64, 3)}, "3 of 64x64 pixels.*what Crop Face gave"),
    ],
)
def test_wrong_wiring_is_told(pack: Pack, change: dict, words: str) -> None:
    given = {name: value for name, value in {**cropped(pack), **change}.items() if value is not None}
    with pytest.raises(pack.core("errors").ArgumentError, match=words):
        pack.run("IDFSRMaskFace", **given)


def test_a_face_of_another_batch_is_refused(pack: Pack) -> None:
    given = {**cropped(pack), "face": cropped(pack, [[BOX]])["face"]}
    with pytest.raises(pack.core("errors").ArgumentError, match="face: of 1 pictures, but the crops are 3"):
        pack.run("IDFSRMaskFace", **given)


def test_empty_crops_are_named(pack: Pack) -> None:
    given = {**cropped(pack), "crop": torch.zeros(0, 128, 128, 3)}
    with pytest.raises(pack.core("errors").ImageError, match="crop: 0 pictures"):
        pack.run("IDFSRMaskFace", **given)

"""Detect, select, crop: pictures in, one aligned face of each out."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from idfsr_core.commands.demo import SAMPLES
from idfsr_core.images import read_image
from tests import tiny
from tests.nodes.running import Pack

THREE = ((0.8, 0.5, 0.1), (0.2, 0.5, 0.1), (0.5, 0.5, 0.2))  # largest in the middle, best score on the right


def pictures(count: int = 1, height: int = 100, width: int = 200) -> torch.Tensor:
    """A batch as ComfyUI has it: [B, H, W, 3]."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, height, width, 3, generator=generator)


def detect(pack: Pack, count: int = 1, places: Any = THREE, **inputs: Any) -> Any:
    """The faces of random pictures in which a stub finds three."""
    return pack.run("IDFSRDetectFaces", image=pictures(count), analyzer=pack.stub_analyzer(*places), **inputs)[0]


def middles(faces: Any) -> list[int]:
    return [round(float(face.box[0] + face.box[2]) / 2) for face in faces]


@pytest.fixture(scope="module")
def scene() -> torch.Tensor:
    return read_image(SAMPLES / "scene.jpg").movedim(1, -1)


# --- detect ---


def test_faces_are_numbered_from_left_to_right_in_every_picture(pack: Pack) -> None:
    faces, numbered, count = pack.run("IDFSRDetectFaces", image=pictures(3), analyzer=pack.stub_analyzer(*THREE))
    assert [middles(each) for each in faces.faces] == [[40, 100, 160]] * 3
    assert count == 9
    assert numbered.shape == (3, 300, 600, 3)  # enlarged threefold, to be read
    assert all(face.landmarks is not None for each in faces.faces for face in each)
    assert faces.images.shape == (3, 3, 100, 200)
    assert [done for done, *_ in pack.progress] == [1, 2, 3]
    assert pack.said == ["looked for by stub at its own threshold\n0 to 2: 3 faces"]


def test_the_pictures_are_passed_on_without_a_copy(pack: Pack) -> None:
    image = pictures(2)
    faces, *_ = pack.run("IDFSRDetectFaces", image=image, analyzer=pack.stub_analyzer())
    assert faces.images.data_ptr() == image.data_ptr()


def test_pictures_are_looked_at_one_by_one(pack: Pack) -> None:
    """Memory does not grow with the batch."""
    seen = []
    analyzer = pack.stub_analyzer(*THREE)
    plain = analyzer.finder.analyze
    analyzer.finder.analyze = lambda image, threshold=None: seen.append((image.shape[0], threshold)) or plain(image)
    pack.run("IDFSRDetectFaces", image=pictures(40, 20, 30), analyzer=analyzer, threshold=0.4)
    assert seen == [(1, 0.4)] * 40
    assert len(pack.ui["images"]) == 8


def test_the_shipped_analyzer_finds_the_three_people(pack: Pack, scene: torch.Tensor) -> None:
    analyzer = pack.bridge.load_analyzer()
    faces, numbered, count = pack.run("IDFSRDetectFaces", image=scene, analyzer=analyzer)
    told = json.loads((SAMPLES / "samples.json").read_text())["scene"]
    assert count == 3
    for face, name in zip(faces.faces[0], ("anna", "ben", "clara"), strict=True):
        assert np.abs(face.keypoints - np.array(told[name])).mean() < 0.6
    assert numbered.shape == (1, 352, 512, 3)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ({"x": 20, "y": 30, "width": 40, "height": 50}, [[40], [40]]),
        (
            [{"x": 120, "y": 30, "width": 40, "height": 50}, {"x": 20, "y": 30, "width": 40, "height": 50}],
            [[140, 40]] * 2,
        ),
        ([[{"x": 20, "y": 30, "width": 40, "height": 50}], []], [[40], []]),
        ([[{"x": 20, "y": 30, "width": 40, "height": 50}]], [[40], [40]]),
        ([], [[], []]),
    ],
)
def test_bounding_boxes_in_all_their_forms(pack: Pack, box: Any, expected: list[list[int]]) -> None:
    """A box, a list for all, a list for each (also of one), none: what ComfyUI's nodes give."""
    faces = detect(pack, 2, bounding_box=box)
    assert [middles(each) for each in faces.faces] == expected
    assert "given boxes" in faces.found_by


def test_a_mask_says_where_the_faces_are(pack: Pack) -> None:
    mask = torch.zeros(1, 50, 100)
    mask[:, 10:30, 10:30] = 1
    faces = detect(pack, 2, mask=mask)
    assert [middles(each) for each in faces.faces] == [[40], [40]]
    assert "100x50 pixels resized to the 200x100" in pack.said[-1]


def mesh(landmarks: np.ndarray, pack: Pack) -> np.ndarray:
    """A face mesh of 478 points that gives these landmarks, in pixels counted from the picture's edge."""
    points = np.tile(landmarks.mean(0), (478, 1))
    for index, place in enumerate(landmarks):
        points[list(pack.core("faces.mesh").mesh_points(index))] = place
    return (points + 0.5).astype(np.float32)


def test_landmarks_of_comfyui_are_read(pack: Pack) -> None:
    wanted = tiny.dense_template() * 0.3 + [60, 30]
    face = {"landmarks_xy": mesh(wanted, pack), "bbox_xyxy": np.zeros(4), "score": 0.7}
    faces = detect(pack, 2, face_landmarks={"frames": [[face], []], "image_size": (100, 200)})
    assert [len(each) for each in faces.faces] == [1, 0]
    np.testing.assert_allclose(faces.faces[0][0].landmarks, wanted, atol=1e-3)
    assert faces.faces[0][0].score == pytest.approx(0.7)
    twice = {"landmarks_xy": mesh(wanted, pack) * 2, "score": 0.7}
    larger = detect(pack, 1, face_landmarks={"frames": [[twice]], "image_size": (200, 400)})
    np.testing.assert_allclose(larger.faces[0][0].landmarks, wanted, atol=1e-3)


BOX = {"x": 20, "y": 30, "width": 40, "height": 50}


@pytest.mark.parametrize(
    ("inputs", "error", "words"),
    [
        ({"bounding_box": {**BOX, "x": 300}}, "ArgumentError", "box 0 of picture 0.*outside the picture of 200x100"),
        ({"bounding_box": {**BOX, "width": 2}}, "ArgumentError", "at least 4 pixels"),
        ({"bounding_box": [[BOX]] * 3}, "ArgumentError", "boxes of 3 pictures for 2"),
        ({"bounding_box": [{"x": 1}]}, "ArgumentError", "x, y, width and height"),
        ({"bounding_box": "here"}, "ArgumentError", "connect a BOUNDING_BOX"),
        ({"mask": torch.zeros(1, 64, 64)}, "ArgumentError", "nothing painted"),
        ({"mask": torch.ones(3, 64, 64)}, "ArgumentError", "3 masks for 2 pictures"),
        ({"mask": torch.ones(1, 64, 64), "bounding_box": BOX}, "ArgumentError", "bounding_box and mask: connected"),
        ({"face_landmarks": {"frames": [[]], "image_size": (100, 200)}}, "ArgumentError", "of 1 pictures for 2"),
        (
            {"face_landmarks": {"frames": [[]] * 2, "image_size": (200, 200)}},
            "ArgumentError",
            "200x200 pixels for 200x100",
        ),
        ({"face_landmarks": [1]}, "ArgumentError", "FACE_LANDMARKS"),
    ],
)
def test_wrong_ways_to_say_where_the_face_is(pack: Pack, inputs: dict, error: str, words: str) -> None:
    with pytest.raises(getattr(pack.core("errors"), error), match=words):
        detect(pack, 2, **inputs)


def test_an_empty_batch_is_named(pack: Pack) -> None:
    with pytest.raises(pack.core("errors").ImageError, match="image: 0 pictures"):
        pack.run("IDFSRDetectFaces", image=torch.zeros(0, 64, 64, 3), analyzer=pack.stub_analyzer())


def test_an_interrupt_stops_between_two_pictures(pack: Pack) -> None:
    pack.interrupt(after=2)
    with pytest.raises(pack.interrupted):
        detect(pack, 5)
    assert len(pack.progress) == 2


# --- select ---


@pytest.mark.parametrize(
    ("how", "index", "expected"),
    [("largest", 0, 100), ("left to right", 0, 40), ("left to right", -1, 160), ("index", 2, 160), ("index", 0, 40)],
)
def test_selecting(pack: Pack, how: str, index: int, expected: int) -> None:
    face, why = pack.run("IDFSRSelectFace", faces=detect(pack, 2), how=how, index=index)
    assert middles(face.faces) == [expected] * 2
    assert len(face.reasons) == 2
    assert why.startswith("0 to 1: ")
    assert pack.ui["text"] == (why,)


def test_given_boxes_keep_their_numbers(pack: Pack) -> None:
    boxes = [{**BOX, "x": 120}, BOX]
    faces = detect(pack, bounding_box=boxes)
    first, _ = pack.run("IDFSRSelectFace", faces=faces, how="index", index=0)
    left, _ = pack.run("IDFSRSelectFace", faces=faces, how="left to right", index=0)
    assert middles(first.faces) == [140]
    assert middles(left.faces) == [40]


def person(pack: Pack, name: str, analyzer: Any) -> Any:
    """The identity of a sample person, without the photo that is in the scene."""
    photos = [(str(k), pack.core("images").read_image(SAMPLES / name / f"{k}.jpg")) for k in range(2, 7)]
    return pack.core("references").prepare_references(analyzer.finder, analyzer.encoder, photos).identity


@pytest.mark.parametrize(("name", "place"), [("anna", 0), ("clara", 2)])
def test_the_person_is_found_among_others(pack: Pack, scene: torch.Tensor, name: str, place: int) -> None:
    analyzer = pack.bridge.load_analyzer()
    faces, *_ = pack.run("IDFSRDetectFaces", image=scene, analyzer=analyzer)
    identity = person(pack, name, analyzer)
    face, why = pack.run("IDFSRSelectFace", faces=faces, identity=identity, how="like identity")
    assert face.faces[0] is faces.faces[0][place]
    assert "similarity" in why


def test_an_identity_of_another_encoder_names_both(pack: Pack) -> None:
    faces = detect(pack)
    vector = torch.nn.functional.normalize(torch.ones(32), dim=0)
    stranger = pack.core("identity.embedding").IdentityEmbedding(
        vector=vector, encoder="arcface", encoder_hash="0123", photos=1, kind="single"
    )
    with pytest.raises(pack.core("errors").EncoderMismatchError, match=r"arcface 0123.*compact") as caught:
        pack.run("IDFSRSelectFace", faces=faces, identity=stranger, how="like identity")
    assert "encode the identity with the analyzer" in str(caught.value)


def test_like_identity_needs_one(pack: Pack) -> None:
    with pytest.raises(pack.core("errors").ArgumentError, match="identity: not connected"):
        pack.run("IDFSRSelectFace", faces=detect(pack), how="like identity")


def test_nobody_found_says_where_how_and_what_to_do(pack: Pack) -> None:
    faces = detect(pack, 3, places=(), threshold=0.6)
    with pytest.raises(pack.core("errors").FaceNotFoundError) as caught:
        pack.run("IDFSRSelectFace", faces=faces)
    text = str(caught.value)
    for words in ("3 of 3 pictures", "by stub at threshold 0.6", "lower the threshold", "BOUNDING_BOX"):
        assert words in text
    face, why = pack.run("IDFSRSelectFace", faces=faces, if_none="pass through")
    assert face.faces == (None, None, None)
    assert why == "0 to 2: no face found"


def test_an_index_beyond_the_count_says_the_count(pack: Pack) -> None:
    with pytest.raises(pack.core("errors").FaceNotFoundError, match=r"number 7.*there are 3, 0 to 2"):
        pack.run("IDFSRSelectFace", faces=detect(pack), how="index", index=7)


def test_smoothing_calms_a_jittering_face(pack: Pack) -> None:
    boxes = [[{**BOX, "x": 80 + 2 * (k % 2)}] for k in range(12)]
    faces = detect(pack, 12, bounding_box=boxes)
    raw, _ = pack.run("IDFSRSelectFace", faces=faces)
    smooth, _ = pack.run("IDFSRSelectFace", faces=faces, smooth=2.0)
    spread = lambda chosen: np.std([float(face.keypoints[2, 0]) for face in chosen.faces])
    assert spread(smooth) < spread(raw) / 3


# --- crop ---


def test_the_crop_is_what_the_core_sees_before(pack: Pack, scene: torch.Tensor) -> None:
    """The same face, the same pixels as in restore_image."""
    faces, *_ = pack.run("IDFSRDetectFaces", image=scene, analyzer=pack.bridge.load_analyzer())
    face, _ = pack.run("IDFSRSelectFace", faces=faces, how="index", index=1)
    crop, alignment, scale = pack.run("IDFSRCropFace", image=scene, face=face)
    steps, conditioning = pack.core("steps"), pack.core("diffusion.conditioning")
    place = steps.align(face.faces[0])
    small = steps.low_resolution_face(scene.movedim(-1, 1), place)
    before = conditioning.upsample(small, 128).clamp(0, 1)
    assert torch.equal(crop, before.movedim(1, -1))
    assert scale == alignment.scales[0] == 128 / small.shape[-1]
    np.testing.assert_array_equal(alignment.items[0].matrix, place.matrix)


def test_pictures_without_a_face_pass_through(pack: Pack) -> None:
    boxes = [[BOX], [], [BOX]]
    face, _ = pack.run("IDFSRSelectFace", faces=detect(pack, 3, bounding_box=boxes), if_none="pass through")
    crop, alignment, scale = pack.run("IDFSRCropFace", image=pictures(3), face=face)
    assert crop.shape == (3, 128, 128, 3)
    assert [item is None for item in alignment.items] == [False, True, False]
    assert (crop[1] == 0.5).all()
    assert scale == alignment.scales[0]


def test_a_picture_with_transparency_is_no_trouble(pack: Pack) -> None:
    image = torch.cat([pictures(), torch.ones(1, 100, 200, 1)], -1)
    faces, *_ = pack.run("IDFSRDetectFaces", image=image, analyzer=pack.stub_analyzer(*THREE))
    face, _ = pack.run("IDFSRSelectFace", faces=faces)
    crop, *_ = pack.run("IDFSRCropFace", image=image, face=face)
    assert crop.shape == (1, 128, 128, 3)


def test_a_face_of_other_pictures_is_refused(pack: Pack) -> None:
    errors = pack.core("errors")
    face, _ = pack.run("IDFSRSelectFace", faces=detect(pack, 2))
    with pytest.raises(errors.ArgumentError, match="3 pictures, but the faces are of 2"):
        pack.run("IDFSRCropFace", image=pictures(3), face=face)
    with pytest.raises(errors.ArgumentError, match=r"found in 200x100 pixels"):
        pack.run("IDFSRCropFace", image=pictures(2, 64, 64), face=face)
    with pytest.raises(errors.ArgumentError, match="1 to 64"):
        pack.run("IDFSRCropFace", image=pictures(2), face=face, scale=0.5)

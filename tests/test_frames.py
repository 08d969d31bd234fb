"""Crops, masks and references for batches in which some pictures have no face."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from idfsr_core.diffusion.conditioning import upsample
from idfsr_core.errors import ArgumentError
from idfsr_core.faces.face import Face
from idfsr_core.frames import (
    CROP,
    GREY,
    Crops,
    crop_faces,
    cut_masks,
    forget,
    mask_faces,
    only_photo,
    strength_note,
    warp_onto_faces,
)
from idfsr_core.identity.compact import CompactEncoder
from idfsr_core.identity.network import EncoderNetwork
from idfsr_core.options import RestoreOptions
from idfsr_core.references import PreparedReferences, prepare_references
from idfsr_core.steps import align, low_resolution_face, make_mask, mask_from_picture, warp_references
from tests import tiny
from tests.tiny import StubAnalyzer, portrait, stub_face

SIDE = 200
USUAL = RestoreOptions()


def face(width: float = 16, x: float = 100, y: float = 100, side: int = SIDE) -> Face:
    return stub_face(x, y, width, (side, side))


def batch(count: int) -> torch.Tensor:
    return torch.cat([portrait(SIDE, seed=k) for k in range(count)])


@pytest.fixture(scope="module")
def photos() -> PreparedReferences:
    """Five references of which the fourth shows no face."""
    encoder = CompactEncoder(EncoderNetwork(tiny.ENCODER))
    finder = StubAnalyzer((0.5, 0.5, 0.4))

    class Picky(StubAnalyzer):
        def analyze(self, image, threshold=None):
            return [] if float(image.mean()) < 0.02 else finder.analyze(image)

    pictures = [
        portrait(SIDE, seed=9),
        portrait(SIDE, seed=9) * 0.9,
        portrait(SIDE, seed=9) * 0.8,
        torch.zeros(1, 3, SIDE, SIDE),
    ]
    named = ((f"reference {k}", picture) for k, picture in enumerate(pictures))
    return prepare_references(Picky(), encoder, named)


# --- crops ---


def test_a_crop_is_what_the_core_calls_before() -> None:
    images = batch(2)
    crops = crop_faces(images, [face(), face(32, 90)])
    for index, each in enumerate((face(), face(32, 90))):
        small = low_resolution_face(images[index : index + 1], align(each))
        assert torch.equal(crops.images[index], upsample(small, CROP)[0].clamp(0, 1))
        assert crops.scales[index] == CROP / small.shape[-1]
    assert crops.scales == (4.0, 2.0)
    assert crops.mean_scale == 3.0


def test_a_picture_without_a_face_is_a_grey_crop() -> None:
    crops = crop_faces(batch(3), [None, face(), None])
    assert [item is None for item in crops.alignments] == [True, False, True]
    assert (crops.images[[0, 2]] == GREY).all()
    assert crops.scales == (1.0, 4.0, 1.0)
    assert crops.mean_scale == 4.0
    nobody = crop_faces(batch(1), [None])
    assert nobody.mean_scale == 1.0


def test_a_known_scale_overrides_the_face_s_size() -> None:
    assert crop_faces(batch(1), [face()], scale=16).scales == (16.0,)
    for scale in (0.5, 65):
        with pytest.raises(ArgumentError, match="1 to 64"):
            crop_faces(batch(1), [face()], scale=scale)


@settings(max_examples=20, deadline=None)
@given(width=st.floats(6, 80), x=st.floats(20, 180), y=st.floats(20, 180), scale=st.none() | st.floats(1, 40))
def test_any_face_gives_a_crop_in_range(width: float, x: float, y: float, scale: float | None) -> None:
    crops = crop_faces(batch(1), [face(width, x, y)], scale)
    assert crops.images.shape == (1, 3, CROP, CROP)
    assert 0 <= float(crops.images.min()) <= float(crops.images.max()) <= 1
    assert 1 <= crops.scales[0] <= CROP / 3


def test_faces_of_another_batch_or_picture_are_refused() -> None:
    with pytest.raises(ArgumentError, match="2 pictures, but the faces are of 3"):
        crop_faces(batch(2), [face()] * 3)
    with pytest.raises(ArgumentError, match="face 1 was found in 300x300"):
        crop_faces(batch(2), [face(), face(side=300)])


def test_a_check_stops_the_work() -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        crop_faces(batch(1), [face()], check=stop)


# --- masks ---


def crops_of(*faces: Face | None) -> Crops:
    return crop_faces(batch(len(faces)), list(faces))


def test_masks_from_landmarks_are_those_of_the_core() -> None:
    faces = [face(), None, face(60)]
    crops = crops_of(*faces)
    masks = mask_faces(crops.alignments, crops.scales, faces, USUAL)
    for index in (0, 2):
        each = faces[index]
        assert each is not None
        assert each.landmarks is not None
        points = torch.as_tensor(align(each).to_crop(each.landmarks), dtype=torch.float32)[None]
        assert torch.equal(masks[index], make_mask(points, crops.scales[index], USUAL)[0])
    assert masks[1].max() == 0
    assert masks[0].max() > masks[2].max() > 0  # auto: mild scales keep some pixels


def test_a_mild_scale_is_told() -> None:
    assert strength_note([1.0], "auto").startswith("at this mild scale (1.0x) auto forgets 0% of")
    assert "33% to 67%" in strength_note([4.0, 2.0], "soft")
    assert strength_note([16.0, 8.0], "auto") == strength_note([1.0], "hard") == ""


def test_masks_need_the_face_of_the_crop() -> None:
    crops = crops_of(face())
    with pytest.raises(ArgumentError, match="of 2 pictures, but the crops are 1"):
        mask_faces(crops.alignments, crops.scales, [face(), face()], USUAL)
    with pytest.raises(ArgumentError, match="went into Crop Face"):
        mask_faces(crops.alignments, crops.scales, [face(side=300)], USUAL)


def test_a_mask_of_the_picture_is_cut_out_where_the_face_is() -> None:
    crops = crops_of(face(), None)
    mask = torch.zeros(1, 1, SIDE, SIDE)
    mask[..., 90:110, 90:110] = 1
    cut = cut_masks(mask, crops.alignments, USUAL)
    item = crops.alignments[0]
    assert item is not None
    assert torch.equal(cut.masks[:1], mask_from_picture(mask, item, USUAL))
    assert cut.masks[1].max() == 0
    assert "cut out" in cut.note
    # a picture's pixel at (100, 100) is in the middle of the painted square
    x, y = np.round(item.to_crop(np.array([[99.5, 99.5]]))[0]).astype(int)
    assert cut.masks[0, 0, y, x] == 1


def test_a_mask_of_the_crop_is_taken_as_it_lies() -> None:
    mask = torch.zeros(2, 1, CROP, CROP)
    mask[0, :, 40:60, 40:60] = 1
    mask[1, :, 70:90, 70:90] = 1
    cut = cut_masks(mask, crops_of(face(), face()).alignments, RestoreOptions(mask_grow=0, mask_feather=0))
    assert torch.equal(cut.masks, mask)
    assert "as it lies" in cut.note


@pytest.mark.parametrize(
    ("size", "picture", "words"),
    [
        ((64, 64), (400, 200), "128x128 pixels of the crop"),
        ((200, 100), (400, 200), "400x200 pixels of the picture"),
        ((1000, 1000), (512, 512), "512x512 pixels of the picture"),
        ((100, 100), (512, 512), "128x128 pixels of the crop"),
        ((333, 170), (400, 200), "400x200 pixels of the picture"),
    ],
)
def test_a_mask_of_another_size_is_resized_and_that_is_said(
    size: tuple[int, int], picture: tuple[int, int], words: str
) -> None:
    crops = crop_faces(torch.rand(1, 3, picture[1], picture[0]), [stub_face(100, 100, 30, picture)])
    cut = cut_masks(torch.ones(1, 1, size[1], size[0]), crops.alignments, USUAL)
    assert words in cut.note
    assert f"{size[0]}x{size[1]}" in cut.note
    assert "resized" in cut.note
    assert cut.masks.shape == (1, 1, CROP, CROP)
    assert cut.masks.mean() > 0.9


def test_masks_that_cannot_be_meant_are_refused() -> None:
    alignments = crops_of(face(), face(), face()).alignments
    with pytest.raises(ArgumentError, match="2 masks for 3 crops"):
        cut_masks(torch.ones(2, 1, SIDE, SIDE), alignments, USUAL)
    with pytest.raises(ArgumentError, match="nothing painted"):
        cut_masks(torch.zeros(1, 1, SIDE, SIDE), alignments, USUAL)
    assert cut_masks(torch.zeros(1, 1, 9, 9), (None,), USUAL).masks.max() == 0


def test_forgotten_pixels_are_grey_and_others_stay() -> None:
    crops, masks = torch.rand(2, 3, 8, 8), torch.zeros(2, 1, 8, 8)
    masks[0] = 1
    masks[1, :, :4] = 0.5
    shown = forget(crops, masks)
    assert torch.allclose(shown[0], torch.full_like(shown[0], GREY))
    assert torch.equal(shown[1, :, 4:], crops[1, :, 4:])
    assert torch.allclose(shown[1, :, :4], (crops[1, :, :4] + GREY) / 2)


# --- references ---


def test_references_are_warped_as_the_core_does_it(photos: PreparedReferences) -> None:
    each = face()
    options = RestoreOptions(max_references=2)
    warped = warp_onto_faces(photos, [each, None, face(30, 90)], options)
    assert warped.count == 2
    assert warped.images.shape == (6, 3, CROP, CROP)
    assert each.landmarks is not None
    points = torch.as_tensor(align(each).to_crop(each.landmarks), dtype=torch.float32)[None]
    core = warp_references(photos.photos, points, torch.zeros(1, 3, 32, 32), torch.zeros(1, 1, CROP, CROP), options)
    assert torch.allclose(warped.images[:2], core.images[0].clamp(0, 1))
    assert torch.equal(warped.coverages[:2], core.coverages[0])
    assert warped.images[2:4].max() == warped.coverages[2:4].max() == 0
    assert warped.coverages[4].max() == 1
    assert "reference" in warped.which[0]
    assert "no face" in warped.which[1]


def test_no_more_references_than_there_are(photos: PreparedReferences) -> None:
    warped = warp_onto_faces(photos, [face()], RestoreOptions(max_references=8))
    assert warped.count == len(photos.photos) == 3


def test_one_photo_is_taken_by_its_name(photos: PreparedReferences) -> None:
    assert only_photo(photos, "reference 1").names == ("reference 1",)
    with pytest.raises(ArgumentError, match="left out: no face found"):
        only_photo(photos, "reference 3")
    with pytest.raises(ArgumentError, match=r"no reference 30.*reference 0, reference 1, reference 2"):
        only_photo(photos, "reference 30")


def test_refining_needs_the_crops(photos: PreparedReferences) -> None:
    options = RestoreOptions(refine=True)
    with pytest.raises(ArgumentError, match="connect the crop"):
        warp_onto_faces(photos, [face()], options)
    with pytest.raises(ArgumentError, match="1 of 64x64 pixels for 1 faces"):
        warp_onto_faces(photos, [face()], options, torch.rand(1, 3, 64, 64))


def test_refining_moves_a_photo_back_onto_the_pixels(photos: PreparedReferences) -> None:
    """The crop shows the photo a little to the right of where the landmarks say it is."""
    each = face(40)
    plain = warp_onto_faces(photos, [each], USUAL)
    crops = torch.roll(plain.images, 3, dims=-1)
    refined = warp_onto_faces(photos, [each], RestoreOptions(refine=True), crops)
    inner = (..., slice(40, 90), slice(40, 90))
    before = (plain.images[inner] - crops[inner]).square().mean()
    after = (refined.images[inner] - crops[inner]).square().mean()
    assert after < before / 2

"""The steps of a restoration, one by one."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from idfsr_core.errors import ImageError
from idfsr_core.faces.face import Face
from idfsr_core.options import RestoreOptions
from idfsr_core.references import Reference, mirrored
from idfsr_core.steps import (
    STEERING_ALONE,
    align,
    enlarged_alignment,
    judge_for,
    low_resolution_face,
    lr_size,
    make_mask,
    output_size,
    paste_crop,
    steered,
    warp_references,
)
from tests import tiny
from tests.diffusion.faces import random_conditioning
from tests.diffusion.judges import linear_judge
from tests.tiny import portrait, stub_face


def face_of(width: float, side: int = 200, x: float = 100.0, y: float = 100.0) -> Face:
    return stub_face(x, y, width, (side, side))


@pytest.mark.parametrize(("width", "expected"), [(64, 128), (32, 64), (12, 24), (5, 10), (1, 3), (120, 128)])
def test_the_low_resolution_face_has_the_picture_s_pixels(width: float, expected: int) -> None:
    """A stub face 64 px wide lies as in the 128 px crop, so its crop has twice as many real pixels as its width."""
    assert lr_size(align(face_of(width))) == expected


def test_a_known_scale_overrides_the_face_s_size() -> None:
    assert lr_size(align(face_of(32)), scale=16) == 8


def test_an_upright_face_is_cut_out_pixel_by_pixel() -> None:
    """Where crop and picture have one scale and one grid, the low-resolution face is a piece of the picture."""
    image = portrait(200, seed=3)
    alignment = align(face_of(16))
    cut = low_resolution_face(image, alignment)
    assert cut.shape == (1, 3, 32, 32)
    corner = alignment.resized(32).to_image(np.zeros((1, 2)))[0]
    x, y = (int(v) for v in np.round(corner))
    assert (cut - image[..., y : y + 32, x : x + 32]).abs().max() < 0.05
    assert (cut - image[..., y : y + 32, x : x + 32]).abs().mean() < 0.01


def test_the_mask_covers_the_face_and_softens_with_mild_scales() -> None:
    landmarks = torch.from_numpy(tiny.dense_template())[None]
    hard, mild = (make_mask(landmarks, 16, RestoreOptions()), make_mask(landmarks, 2, RestoreOptions()))
    assert hard[0, 0, 76, 64] == 1
    assert hard[0, 0, 2, 2] == 0
    assert 0 < mild.max() < 1
    assert torch.equal(make_mask(landmarks, 2, RestoreOptions(mask_mode="hard")), hard)


def test_the_picture_grows_by_the_face_s_scale_within_bounds() -> None:
    assert output_size(align(face_of(8))) == (1600, 1600)
    assert output_size(align(face_of(64))) == (200, 200)
    assert output_size(align(face_of(190))) == (200, 200)
    assert output_size(align(face_of(8)), enlarge=1) == (200, 200)
    assert max(output_size(align(face_of(4, side=2000)))) == 4096
    with pytest.raises(ImageError, match="64x"):
        output_size(align(face_of(8, side=2000)), enlarge=64)


def test_pasting_what_was_there_changes_nothing_visible() -> None:
    """A crop of the enlarged picture itself, laid over it, leaves no seam."""
    image = portrait(200, seed=4)
    alignment = align(face_of(16))
    crop = alignment.crop(image)
    grown = F.interpolate(image, (800, 800), mode="bicubic").clamp(0, 1)
    pasted = paste_crop(image, crop, alignment, (800, 800), 0.06)
    assert (pasted - grown).abs().max() < 0.02
    assert torch.equal(paste_crop(image, crop, alignment, (200, 200), 0.06)[..., :20], image[..., :20])


def test_only_the_face_of_a_pasted_crop_may_differ_from_the_picture() -> None:
    """A white crop: without a mask all of it stays white, with one its surroundings come back, and the face stays."""
    image, alignment = portrait(200, seed=4), align(face_of(16))
    crop, mask = torch.full((1, 3, 128, 128), 0.9), torch.zeros(1, 1, 128, 128)
    mask[..., 44:84, 44:84] = 1
    whole, masked = (paste_crop(image, crop, alignment, (800, 800), 0.06, each) for each in (None, mask))
    place = enlarged_alignment(alignment, (800, 800))
    assert (place.crop(whole) - crop)[..., 16:-16, 16:-16].abs().max() < 0.01
    assert (place.crop(masked) - crop)[..., 48:80, 48:80].abs().max() < 0.01
    missed = [alignment.crop(F.adaptive_avg_pool2d(each, 200) - image).abs() for each in (whole, masked)]
    around = F.max_pool2d(mask, 17, 1, 8) == 0
    assert float((missed[1] * around).mean()) < 0.2 * float((missed[0] * around).mean())


def turned_photo(yaw: float) -> Reference:
    """A photo whose inner landmarks lie ``yaw`` pixels beside the middle, as those of a turned head do."""
    landmarks = torch.from_numpy(tiny.dense_template()).float() + 32
    landmarks[17:, 0] += yaw
    return Reference(name="turned", crop=portrait(192), landmarks=landmarks, embedding=torch.ones(4) / 2, quality=1.0)


def test_a_mirrored_photo_has_its_features_on_the_other_side_and_mirrored_again_is_itself() -> None:
    photo = replace(turned_photo(5), looks=torch.tensor([[[1.0]], [[2.0]]]))
    other = mirrored(photo)
    assert other.looks is not None
    assert other.looks.flatten().tolist() == [2, 1]
    assert torch.equal(other.crop[..., 0], photo.crop[..., -1])
    assert other.landmarks[36, 0] == 191 - photo.landmarks[45, 0]  # outer corners of the eyes
    assert other.landmarks[36, 0] < other.landmarks[45, 0]
    assert other.mirrored
    again = mirrored(other)
    assert not again.mirrored
    assert torch.equal(again.crop, photo.crop)
    assert torch.allclose(again.landmarks, photo.landmarks)


@pytest.mark.parametrize(
    ("yaw", "mirror", "expected"), [(7, 0.08, True), (1, 0.08, False), (1, 0, True), (7, 1, False)]
)
def test_a_photo_of_the_other_side_is_mirrored_where_that_fits_clearly_better(
    yaw: float, mirror: float, expected: bool
) -> None:
    photo, face = turned_photo(yaw), turned_photo(-yaw).landmarks[None] - 32
    lr, mask = torch.zeros(1, 3, 8, 8), torch.ones(1, 1, 128, 128)
    warped = warp_references([photo], face, lr, mask, RestoreOptions(mirror=mirror))
    assert warped.names == ("turned",)
    assert warped.mirrored == (expected,)
    assert ("mirrored" in warped.reasons[0]) == expected
    plain = warp_references([photo], photo.landmarks[None] - 32, lr, mask, RestoreOptions(mirror=mirror))
    assert "mirrored" not in plain.reasons[0]


def test_the_vector_of_one_photo_steers_little_and_leads_nobody() -> None:
    judge = linear_judge(24)
    cond = random_conditioning(batch=2)
    faces = torch.rand(2, 3, *cond.mask.shape[-2:])
    several, single = judge_for(2, judge), judge_for(1, judge)
    assert several is judge
    assert single is not None
    assert not single.leads
    assert judge_for(1, None) is None
    far, near = (steered(faces, cond, RestoreOptions(), each) for each in (several, single))
    few = steered(faces, cond, RestoreOptions(steering=STEERING_ALONE), several)
    assert torch.equal(near, few)
    assert not torch.equal(near, far)
    assert torch.equal(steered(faces, cond, RestoreOptions(steering=0), single), faces)

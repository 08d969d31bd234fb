"""Restored crops back into their pictures."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from idfsr_core.errors import ArgumentError, Cancelled, ImageError
from idfsr_core.geometry import Alignment
from idfsr_core.pasting import (
    LARGEST_BATCH,
    LARGEST_SIDE,
    PasteLook,
    agree_around,
    check_batch,
    fit_alignment,
    mask_of_crop,
    paste_face,
    paste_faces,
    pasted_size,
    resize,
)
from idfsr_core.runtime import Runtime
from idfsr_core.steps import align, output_size, paste_crop
from tests.tiny import portrait, stub_face


def alignment(width: float = 16, x: float = 100, y: float = 90, size: tuple[int, int] = (200, 160)) -> Alignment:
    return align(stub_face(x, y, width, size))


def picture(size: tuple[int, int] = (200, 160), seed: int = 0) -> Tensor:
    return resize(portrait(160, seed), size)


def error(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max())


@pytest.mark.parametrize("factor", [1, 4])
def test_it_pastes_as_the_core_does(factor: int) -> None:
    image, crop, place = picture(), portrait(128, seed=3), alignment()
    size = (200 * factor, 160 * factor)
    pasted, _ = paste_face(image, crop, place, size, PasteLook(feather=0.12))
    assert torch.equal(pasted, paste_crop(image, crop, place, size, 0.12))


def test_the_second_return_says_what_was_replaced() -> None:
    image, crop, place = picture(), portrait(128, seed=3), alignment(40)
    pasted, replaced = paste_face(image, crop, place, (200, 160))
    assert replaced.shape == (1, 1, 160, 200)
    assert 0 <= float(replaced.min()) <= float(replaced.max()) <= 1
    assert float(replaced[0, 0, 90, 100]) == pytest.approx(1, abs=1e-5)
    untouched = (replaced == 0).expand_as(image)
    assert torch.equal(pasted[untouched], image[untouched])
    white, black = torch.ones_like(crop), torch.zeros_like(image)
    assert error(paste_face(black, white, place, (200, 160))[0][:, :1], replaced) < 1e-6


def test_a_mask_limits_what_is_replaced() -> None:
    image, crop, place = picture(), portrait(128, seed=3), alignment(40)
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 16:48, 16:48] = 1
    pasted, replaced = paste_face(image, crop, place, (200, 160), mask=mask)
    whole = paste_face(image, crop, place, (200, 160))[1]
    assert 0.15 < float(replaced.sum() / whole.sum()) < 0.4
    assert torch.equal(pasted[(replaced == 0).expand_as(image)], image[(replaced == 0).expand_as(image)])


@pytest.mark.parametrize("side", [96, 128, 200, 512])
@pytest.mark.parametrize("factor", [1, 3])
def test_a_crop_of_any_size_leaves_no_seam(side: int, factor: int) -> None:
    """A crop of the smooth picture itself, whatever its size, is hardly seen."""
    image, place = picture(), alignment(24)
    size = (200 * factor, 160 * factor)
    crop = place.resized(side).crop(image)
    pasted, replaced = paste_face(image, crop, place, size)
    assert error(pasted, resize(image, size) if factor > 1 else image) < 0.02
    assert float(replaced.max()) > 0.99


def test_two_faces_by_two_pastes_the_second_into_the_enlarged_picture() -> None:
    image = picture((120, 100))
    places = [alignment(12, x, 50, (120, 100)) for x in (35, 85)]
    crops = [portrait(128, seed=n) for n in (3, 4)]
    size = pasted_size(places[:1], (120, 100), 128)
    once, first = paste_face(image, crops[0], places[0], size)
    assert size == (600, 500)
    assert pasted_size([places[1]], size, 128) == size, "the picture has the room already"
    twice, second = paste_face(once, crops[1], places[1], size)
    direct = places[1].in_resized(size).paste(once, crops[1], feather=0.12)  # the size stays: nothing to agree with
    assert error(twice, direct) < 1e-6
    apart = ((first > 0) & (second > 0)).sum()
    assert apart == 0
    only_first = (second == 0).expand_as(once)
    assert torch.equal(twice[only_first], once[only_first])


def test_a_picture_without_a_face_is_only_enlarged() -> None:
    image = picture()
    pasted, replaced = paste_face(image, portrait(128), None, (400, 320))
    assert error(pasted, resize(image, (400, 320))) < 0.02
    assert float(replaced.max()) == 0
    assert torch.equal(paste_face(image, portrait(128), None, (200, 160))[0], image)


def test_around_the_face_the_crop_agrees_with_the_picture_and_the_face_stays() -> None:
    image, place, crop = picture(), alignment(16), torch.full((1, 3, 128, 128), 0.9)
    size, face = (800, 640), torch.zeros(1, 1, 128, 128)
    face[..., 44:84, 44:84] = 1
    plain, share = paste_face(image, crop, place, size)
    pasted, same = paste_face(image, crop, place, size, face=face)
    assert torch.equal(share, same), "the whole crop is laid on all the same"
    assert error(place.in_resized(size).crop(pasted)[..., 48:80, 48:80], crop[..., 48:80, 48:80]) < 0.01
    missed = [(F.adaptive_avg_pool2d(each, (160, 200)) - image).abs().mean() for each in (plain, pasted)]
    assert float(missed[1]) < 0.5 * float(missed[0])
    assert torch.equal(
        paste_face(image, crop, place, (200, 160), face=face)[0], paste_face(image, crop, place, (200, 160))[0]
    )
    assert torch.equal(pasted, paste_crop(image, crop, place, size, 0.12, face))


@pytest.mark.parametrize("name", ["mask", "face_mask"])
def test_masks_that_do_not_belong_to_the_crops_are_named(name: str) -> None:
    images, crops, places = picture().expand(2, -1, -1, -1), torch.zeros(2, 3, 128, 128), [alignment()] * 2
    given = lambda mask: {"masks" if name == "mask" else "faces": mask}
    check_batch(images, crops, places, **given(torch.ones(1, 1, 64, 64)))
    for wrong in (torch.ones(3, 1, 64, 64), torch.ones(1, 1, 64, 65)):
        with pytest.raises(ArgumentError, match=f"^{name}: "):
            check_batch(images, crops, places, **given(wrong))


@settings(max_examples=25, deadline=None)
@given(width=st.integers(5, 24), height=st.integers(5, 24), factor=st.floats(1.3, 6), seed=st.integers(0, 99))
def test_an_enlarged_picture_agrees_with_its_own_pixels_but_for_the_face(
    width: int, height: int, factor: float, seed: int
) -> None:
    image = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 0.6 + 0.2
    size = (round(width * factor), round(height * factor))
    grown = resize(image, size)
    face = torch.zeros(1, 1, size[1], size[0])
    missed = lambda picture: float((F.adaptive_avg_pool2d(picture, (height, width)) - image).abs().mean())
    assert missed(agree_around(grown, image, face)) < 0.8 * missed(grown)
    assert torch.equal(agree_around(grown, image, face + 1), grown)
    face[..., : size[0] // 2] = 1
    half = agree_around(grown, image, face)
    assert torch.equal(half[..., : size[0] // 2], grown[..., : size[0] // 2])
    assert torch.equal(agree_around(image, image, torch.zeros_like(image[:, :1])), image)


@pytest.mark.parametrize("method", ["lab", "wavelet"])
def test_colours_are_matched_to_the_picture(method: str) -> None:
    image, place = picture(), alignment(24)
    crop = place.crop(image)
    tinted = (crop * 0.8 + torch.tensor([0.12, 0.02, 0.0]).view(1, 3, 1, 1)).clamp(0, 1)
    plain, matched = (paste_face(image, tinted, place, (400, 320), PasteLook(colour=c))[0] for c in ("none", method))
    truth = resize(image, (400, 320))
    assert float((matched - truth).abs().mean()) < 0.25 * float((plain - truth).abs().mean())


@pytest.mark.parametrize(
    ("size", "fits"), [((200, 160), 1), ((400, 320), 1), ((299, 240), 1), ((50, 40), 1), ((400, 300), 0)]
)
def test_an_alignment_follows_a_resized_picture_of_the_same_aspect(size: tuple[int, int], fits: bool) -> None:
    place = alignment()
    if not fits:
        with pytest.raises(ArgumentError, match=r"400x300 pixels.*200x160.*Crop Face"):
            fit_alignment(place, size)
        return
    moved = fit_alignment(place, size)
    assert moved.image_size == size
    corners = (place.corners + 0.5) * np.array(size) / (200, 160) - 0.5
    assert np.abs(moved.corners - corners).max() < 1e-6


def test_one_picture_grows_as_the_core_lets_it() -> None:
    for width in (3, 8, 16, 40, 120):
        place = alignment(width)
        assert pasted_size([place], (200, 160), 128) == output_size(place)
        assert pasted_size([place], (200, 160), 128, 2.5) == (500, 400)


def test_a_larger_crop_needs_more_room() -> None:
    assert pasted_size([alignment(32)], (200, 160), 512) == (1600, 1280)
    assert max(pasted_size([alignment(8)], (200, 160), 512)) == LARGEST_SIDE


def test_a_batch_grows_by_one_whole_number_within_memory() -> None:
    places = [alignment(30), None, alignment(16)]
    assert pasted_size(places, (200, 160), 128) == (800, 640)
    many = [alignment(16, 250, 250, (512, 512))] * 500
    width, height = pasted_size(many, (512, 512), 128)
    assert (width, height) == (512, 512)
    assert width * height * 500 <= LARGEST_BATCH
    assert pasted_size([None, None], (200, 160), 128) == (200, 160)


def test_too_large_a_result_is_refused() -> None:
    with pytest.raises(ImageError, match="enlarge"):
        pasted_size([alignment()], (200, 160), 128, 100)
    with pytest.raises(ImageError, match="500 of 512x512"):
        pasted_size([alignment(16, 250, 250, (512, 512))] * 500, (512, 512), 128, 8)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"crops": torch.zeros(3, 3, 128, 128)}, "crop: 3 of them, but image has 2"),
        ({"alignments": [None]}, "alignment: 1 of them, but image has 2"),
        ({"crops": torch.zeros(2, 3, 128, 100)}, "crop: 100x128 pixels, not square"),
        ({"images": torch.zeros(2, 3, 160, 160)}, "image: 160x160 pixels, where the face was cropped out of 200x160"),
        ({"masks": torch.zeros(3, 1, 128, 128)}, "mask: 3 masks for 2 crops"),
        ({"masks": torch.zeros(2, 1, 128, 100)}, "mask: 100x128 pixels"),
    ],
)
def test_what_does_not_belong_together_is_refused(changes: dict, what: str) -> None:
    given: dict = {
        "images": torch.zeros(2, 3, 160, 200),
        "crops": torch.zeros(2, 3, 128, 128),
        "alignments": [alignment(), None],
        "masks": torch.zeros(1, 1, 160, 200),
    }
    check_batch(**given)
    with pytest.raises(ArgumentError, match=what):
        check_batch(**(given | changes))


def test_a_mask_of_the_picture_is_cut_out_and_one_of_the_crop_is_not() -> None:
    place, image, crop = alignment(40), picture(), portrait(128)
    whole = torch.zeros(1, 1, 160, 200)
    whole[..., 80:100, 90:110] = 1
    cut = mask_of_crop(whole, crop, image, place)
    assert cut is not None
    assert cut.shape == (1, 1, 128, 128)
    assert torch.equal(cut, place.crop(whole, padding="zeros", mode="bilinear"))
    own = torch.ones(1, 1, 64, 64)
    assert mask_of_crop(own, crop, image, place) is own
    assert mask_of_crop(None, crop, image, place) is None
    assert mask_of_crop(whole, crop, image, None) is whole


def test_a_batch_is_pasted_picture_by_picture() -> None:
    images, crops = (
        torch.cat([picture(seed=n) for n in (0, 1, 2)]),
        torch.cat([portrait(128, seed=n) for n in (3, 4, 5)]),
    )
    places, mask = [alignment(20), None, alignment(30, 60, 70)], torch.ones(1, 1, 160, 200)
    told: list[int] = []
    runtime = Runtime(progress=lambda done, total: told.append(done), cancelled=lambda: len(told) == 2)
    pairs = paste_faces(images, crops, places, (200, 160), None, mask, (6.4, 1.0, 4.0), runtime)
    first, second = next(pairs), next(pairs)
    assert torch.allclose(first[0], paste_face(images[:1], crops[:1], places[0], (200, 160))[0], atol=1e-5)
    assert torch.equal(second[0], images[1:2])
    with pytest.raises(Cancelled):
        next(pairs)
    assert told == [1, 2]

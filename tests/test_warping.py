"""References brought onto a face: the warp, its coverage, the choice and the refinement."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from idfsr_core.errors import ArgumentError
from idfsr_core.geometry import transform_points
from idfsr_core.images import down, up
from idfsr_core.warping import (
    METHODS,
    WarpedReference,
    choose_reference,
    describe_face,
    refine_warp,
    warp_reference,
)

from .test_masking import face_landmarks


def smooth_image(height=64, width=64, batch=1, seed=0, cells=7):
    coarse = torch.rand(batch, 3, cells, cells, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)


def similarity(angle=0.0, scale=1.0, x=0.0, y=0.0):
    a, b = scale * math.cos(angle), scale * math.sin(angle)
    return torch.tensor([[[a, -b, x], [b, a, y]]])


# --- the warp ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_the_same_landmarks_give_the_same_picture(method):
    image, landmarks = smooth_image(batch=2), face_landmarks(64, 2)
    warped = warp_reference(image, landmarks, landmarks, 64, method)
    assert (warped.image - image).abs().max() < 1e-3
    assert (warped.coverage[..., 8:-8, 8:-8] == 1).all()


@pytest.mark.parametrize("method", METHODS)
def test_a_margin_is_cut_off(method):
    image, landmarks = smooth_image(96, 96), face_landmarks(64)
    warped = warp_reference(image, landmarks + 16, landmarks, 64, method)
    assert (warped.image - image[..., 16:80, 16:80]).abs().max() < 2e-3
    assert (warped.coverage == 1).all()


@pytest.mark.parametrize("method", METHODS)
def test_shrinking_a_large_photo_does_not_alias(method):
    noise = torch.rand(1, 3, 768, 768, generator=torch.Generator().manual_seed(0))
    warped = warp_reference(noise, face_landmarks(768), face_landmarks(48), 48, method)
    assert warped.image.std() < 0.04  # area averages of 16 x 16 noise pixels: 0.29 / 16
    assert warped.image.mean().item() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("method", METHODS)
def test_coverage_tells_where_the_photo_ends(method):
    landmarks = face_landmarks(64)
    warped = warp_reference(torch.rand(1, 3, 64, 64), landmarks + torch.tensor([20.0, 0.0]), landmarks, 64, method)
    cover = warped.coverage[0, 0]
    assert (cover[:, 45:] == 0).all()
    assert cover[20:40, 10:38].min() == 1
    assert (cover[32, 38:46].diff() <= 0).all()
    assert cover.min() >= 0
    assert cover.max() <= 1


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_is_its_items(method):
    image, source = smooth_image(80, 70, batch=3), face_landmarks(64, 3) + torch.randn(3, 68, 2)
    target = face_landmarks(64, 3) + torch.randn(3, 68, 2)
    together = warp_reference(image, source, target, 64, method)
    single = warp_reference(image[1:2], source[1:2], target[1:2], 64, method)
    assert torch.allclose(together.image[1:2], single.image, atol=1e-4)
    assert torch.allclose(together.coverage[1:2], single.coverage, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_a_warp_is_differentiable_in_image_and_points(method):
    image = smooth_image(20, 20, cells=4).double().requires_grad_()
    source, target = face_landmarks(16)[:, :12].double(), face_landmarks(8)[:, :12].double() + 0.01
    source = (source + torch.randn(source.shape, generator=torch.Generator().manual_seed(0)) * 0.3).requires_grad_()
    loss = lambda i, s, t: warp_reference(i, s, t, 4, method).image
    target.requires_grad_()
    loss(image, source, target).square().sum().backward()
    for tensor in (image, source, target):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()
        assert tensor.grad.abs().sum() > 0


def test_splines_bend_where_matrices_cannot():
    image, landmarks = smooth_image(64, 64), face_landmarks(64)
    opened = landmarks.clone()
    opened[:, 55:60, 1] += 3  # the lower lip
    change = {m: (warp_reference(image, landmarks, opened, 64, m).image - image).abs() for m in METHODS}
    for method in ("tps", "piecewise"):
        mouth, brow = change[method][..., 44:54, 26:38].mean(), change[method][..., 20:26, 20:40].mean()
        assert mouth > 3 * brow


def test_values_that_are_no_reference_are_refused():
    with pytest.raises(ArgumentError, match="method"):
        warp_reference(torch.rand(1, 3, 8, 8), face_landmarks(8), face_landmarks(8), 8, "magic")
    with pytest.raises(ArgumentError, match="points"):
        warp_reference(torch.rand(1, 3, 8, 8), face_landmarks(8)[:, :5], face_landmarks(8), 8)
    with pytest.raises(ArgumentError, match="WarpedReference"):
        WarpedReference(image=torch.rand(1, 3, 8, 8), coverage=torch.rand(1, 1, 4, 4))


# --- the choice -------------------------------------------------------------------------------------------------------


def turned(landmarks, by):
    """Inner points slide sideways, as when the head turns."""
    landmarks = landmarks.clone()
    landmarks[:, 27:36, 0] += by
    landmarks[:, 36:, 0] += by * 0.5
    return landmarks


def opened_mouth(landmarks, by):
    landmarks = landmarks.clone()
    landmarks[:, 55:60, 1] += by
    landmarks[:, 65:68, 1] += by
    return landmarks


@settings(max_examples=20, deadline=None)
@given(st.floats(-3, 3), st.floats(0.1, 20), st.floats(-500, 500))
def test_place_size_and_roll_do_not_matter_for_the_choice(angle, scale, shift):
    face = face_landmarks()
    moved = transform_points(similarity(angle, scale, shift, -shift), face)
    choice = choose_reference(face, torch.cat((turned(face, 8.0), moved)))
    assert choice.order == [1, 0]
    assert choice.residuals[0] < 1e-3 < choice.residuals[1]
    for name in ("yaw", "pitch", "mouth", "smile", "eyes"):
        a, b = getattr(describe_face(face), name), getattr(describe_face(moved), name)
        assert a.item() == pytest.approx(b.item(), abs=1e-3)


def test_the_reasons_name_pose_and_expression():
    face = face_landmarks()
    shut = face.clone()
    shut[:, [37, 38, 43, 44]] = shut[:, [41, 40, 47, 46]]
    references = [turned(face, 8.0), turned(face, -8.0), opened_mouth(face, 12.0), shut, face]
    choice = choose_reference(face[0], torch.cat(references))
    assert choice.order[0] == 4
    reasons = dict(zip(choice.order, choice.reasons, strict=True))
    assert "turned more to the right" in reasons[0]
    assert "turned more to the left" in reasons[1]
    assert "mouth more open" in reasons[2]
    assert "eyes less open" in reasons[3]
    assert "same pose and expression" in reasons[4]
    assert choice.reason == f"reference 5 of 5 fits best: {reasons[4]}"
    assert choice.residuals == sorted(choice.residuals)


def test_looking_up_and_smiling_are_seen():
    face = face_landmarks()
    up_, smiling = face.clone(), face.clone()
    up_[:, 27:36, 1] -= 5
    smiling[:, 48, 0] -= 8
    smiling[:, 54, 0] += 8
    plain, looking, smile = (describe_face(f) for f in (face, up_, smiling))
    assert looking.pitch < plain.pitch
    assert smile.smile > plain.smile
    assert plain.yaw.abs() < 0.05


def test_five_points_are_enough_to_choose():
    five = torch.tensor([[[40.0, 50], [80, 50], [60, 70], [45, 90], [75, 90]]])
    other = five.clone()
    other[:, 2, 0] += 12
    choice = choose_reference(five, torch.cat((other, five * 3)))
    assert choice.order == [1, 0]
    assert "turned more to the right" in choice.reasons[1]


def test_choosing_among_nothing_is_refused():
    with pytest.raises(ArgumentError, match="reference landmarks"):
        choose_reference(face_landmarks(), torch.zeros(0, 68, 2))
    with pytest.raises(ArgumentError, match="reference landmarks"):
        choose_reference(face_landmarks(), torch.zeros(2, 5, 2))
    with pytest.raises(ArgumentError, match="landmarks"):
        describe_face(torch.zeros(1, 7, 2))


# --- the refinement ---------------------------------------------------------------------------------------------------


def reference_of(image):
    return WarpedReference(image=image, coverage=torch.ones_like(image[:, :1]))


@pytest.mark.parametrize("kind", ["similarity", "affine"])
@pytest.mark.parametrize("contrast", [1.0, 0.7])
def test_a_shifted_reference_moves_back(kind, contrast):
    image = smooth_image(128, 128, batch=2, cells=9)
    shifted = reference_of((torch.roll(image, (2, -3), (2, 3)) - 0.5) * contrast + 0.5)
    refined = refine_warp(shifted, down(image, 8), kind=kind)
    place = transform_points(refined.matrix, torch.tensor([[[60.0, 66.0]]]).repeat(2, 1, 1))
    assert (place - torch.tensor([63.0, 64.0])).norm(dim=-1).max() < 0.7
    assert (refined.error_after < 0.5 * refined.error_before).all()


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 999), st.sampled_from([8, 10.67, 16, 32]), st.booleans())
def test_refinement_never_makes_the_error_worse(seed, scale, enlarged):
    image, other = smooth_image(128, 128, seed=seed), smooth_image(128, 128, seed=seed + 1000)
    lr = down(other, scale)
    warped = reference_of(image)
    refined = refine_warp(warped, up(lr, 128), scale=scale) if enlarged else refine_warp(warped, lr)
    assert (refined.error_after <= refined.error_before).all()
    assert refined.image.min() >= 0
    assert refined.image.max() <= 1
    corners = torch.tensor([[[32.0, 64], [96, 64], [64, 32], [64, 96]]])
    assert (transform_points(refined.matrix, corners) - corners).norm(dim=-1).max() < 15


def test_a_reference_that_fits_stays_bit_for_bit():
    image = smooth_image(128, 128)
    refined = refine_warp(reference_of(image), down(image, 16))
    assert torch.equal(refined.image, image)
    assert torch.equal(refined.matrix, torch.eye(2, 3)[None])


def test_what_lies_outside_the_mask_is_not_looked_at():
    image = smooth_image(128, 128, cells=9)
    shifted = torch.roll(image, 3, 3)
    disturbed = image.clone()
    disturbed[..., :32] = torch.rand(1, 3, 128, 32)
    mask = torch.zeros(1, 1, 128, 128)
    mask[..., 40:] = 1
    a = refine_warp(reference_of(shifted), down(image, 8), mask)
    b = refine_warp(reference_of(shifted), down(disturbed, 8), mask)
    assert torch.allclose(a.matrix, b.matrix, atol=1e-4)


def test_flat_and_empty_pictures_do_not_break_the_refinement():
    flat = reference_of(torch.full((1, 3, 64, 64), 0.5))
    for mask in (None, torch.zeros(1, 1, 64, 64)):
        refined = refine_warp(flat, torch.rand(1, 3, 8, 8), mask)
        assert refined.image.isfinite().all()
        assert (refined.error_after <= refined.error_before).all()


def test_refinements_that_make_no_sense_are_refused():
    warped = reference_of(smooth_image(64, 64))
    with pytest.raises(ArgumentError, match="kind"):
        refine_warp(warped, torch.rand(1, 3, 8, 8), kind="spline")
    with pytest.raises(ArgumentError, match="low-resolution face"):
        refine_warp(warped, torch.rand(1, 3, 8, 8), scale=4)

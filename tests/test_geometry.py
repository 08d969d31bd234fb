"""Transforms, resampling, and the way between a picture and its crop."""

import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from idfsr_core.errors import ArgumentError
from idfsr_core.geometry import (
    ARCFACE_TEMPLATE,
    FFHQ_TEMPLATE,
    Alignment,
    affine_from_points,
    arcface_template,
    border_window,
    compose_affine,
    ffhq_template,
    invert_affine,
    resize_matrix,
    sample,
    similarity_from_points,
    transform_points,
    warp_affine,
)

examples = settings(max_examples=25, deadline=None)
angles, scales, shifts = st.floats(-math.pi, math.pi), st.floats(0.05, 20), st.floats(-500, 500)


def similarity(angle, scale, x, y):
    a, b = scale * math.cos(angle), scale * math.sin(angle)
    return torch.tensor([[[a, -b, x], [b, a, y]]], dtype=torch.float64)


def points(seed, count=10, batch=1):
    return torch.rand(batch, count, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 100


def smooth_image(height=96, width=120, batch=1, seed=0):
    coarse = torch.rand(batch, 3, 6, 7, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)


def identity(dtype=torch.float32):
    return torch.eye(2, 3, dtype=dtype)[None]


# --- transforms -------------------------------------------------------------------------------------------------------


@examples
@given(angles, scales, shifts, shifts, st.integers(0, 99))
def test_a_similarity_is_found_again(angle, scale, x, y, seed):
    matrix, source = similarity(angle, scale, x, y), points(seed)
    found = similarity_from_points(source, transform_points(matrix, source))
    assert torch.allclose(found, matrix, atol=1e-6, rtol=1e-6)


@examples
@given(st.integers(0, 999))
def test_noisy_points_get_the_similarity_of_least_squares(seed):
    source, target = points(seed), points(seed + 1000)
    found = similarity_from_points(source, target)[0]
    x, y = source[0].T
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    rows = torch.cat((torch.stack((x, -y, one, zero), 1), torch.stack((y, x, zero, one), 1)))
    a, b, u, v = torch.linalg.lstsq(rows, torch.cat((target[0, :, 0], target[0, :, 1]))[:, None]).solution[:, 0]
    assert torch.allclose(found, torch.stack((torch.stack((a, -b, u)), torch.stack((b, a, v)))), atol=1e-8)
    assert torch.linalg.det(found[:, :2]) > 0


def test_a_batch_is_its_items():
    source, target = points(0, batch=4), points(1, batch=4)
    for function in (similarity_from_points, affine_from_points):
        single = torch.cat([function(s[None], t[None]) for s, t in zip(source, target, strict=True)])
        assert torch.allclose(function(source, target), single)


@examples
@given(st.integers(0, 999))
def test_an_affine_transform_is_found_again(seed):
    matrix = torch.randn(1, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    source = points(seed)
    assert torch.allclose(affine_from_points(source, transform_points(matrix, source)), matrix, atol=1e-8)


@examples
@given(angles, scales, shifts, shifts, angles, scales)
def test_inverse_and_composition(angle, scale, x, y, angle2, scale2):
    first, second, p = similarity(angle, scale, x, y), similarity(angle2, scale2, y, x), points(0)
    there = transform_points(first, p)
    assert torch.allclose(transform_points(invert_affine(first), there), p, atol=1e-6)
    both = compose_affine(second, first)
    assert torch.allclose(transform_points(both, p), transform_points(second, there), atol=1e-6)


@pytest.mark.parametrize("function", [similarity_from_points, affine_from_points])
def test_points_that_decide_nothing_are_refused(function):
    with pytest.raises(ArgumentError, match="points"):
        function(torch.ones(1, 5, 2), torch.rand(1, 5, 2))
    with pytest.raises(ArgumentError, match="points"):
        function(torch.rand(1, 5, 2), torch.rand(1, 4, 2))
    with pytest.raises(ArgumentError, match="points"):
        function(torch.full((1, 5, 2), float("nan")), torch.rand(1, 5, 2))


def test_points_on_a_line_have_no_affine_transform():
    line = torch.arange(5.0)[None, :, None].repeat(1, 1, 2)
    with pytest.raises(ArgumentError, match="line"):
        affine_from_points(line, torch.rand(1, 5, 2))


@pytest.mark.parametrize("function", [similarity_from_points, affine_from_points])
def test_transforms_are_differentiable_in_the_points(function):
    source, target = points(0, 4).requires_grad_(), points(1, 4).requires_grad_()
    assert torch.autograd.gradcheck(function, (source, target))


def test_templates_scale_about_the_corner_of_the_picture():
    assert torch.allclose(ffhq_template(512), torch.tensor(FFHQ_TEMPLATE, dtype=torch.float64))
    assert torch.allclose(arcface_template(112), torch.tensor(ARCFACE_TEMPLATE, dtype=torch.float64))
    to_128 = torch.from_numpy(resize_matrix(512, 128))
    assert torch.allclose(transform_points(to_128, ffhq_template(512)), ffhq_template(128))


# --- resampling -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_the_identity_changes_nothing(mode, padding):
    image = torch.rand(2, 3, 17, 23)
    assert torch.allclose(warp_affine(image, identity(), (17, 23), padding=padding, mode=mode), image, atol=1e-5)


def test_a_whole_shift_moves_pixels():
    image = torch.rand(1, 3, 20, 20)
    matrix = identity()
    matrix[0, 0, 2], matrix[0, 1, 2] = 3, -2
    moved = warp_affine(image, matrix, 20)
    assert torch.allclose(moved[..., :18, 3:], image[..., 2:, :17], atol=1e-5)
    assert (moved[..., :, :2] == 0).all()


@pytest.mark.parametrize("factor", [2, 4, 8, 16])
def test_shrinking_by_a_whole_factor_is_the_area_average(factor):
    image = torch.rand(1, 3, 128, 128)
    matrix = torch.from_numpy(resize_matrix(128, 128 // factor))[None]
    small = warp_affine(image, matrix, 128 // factor, padding="border")
    # beyond a factor of 8 the picture is averaged first, and the same pixels are averaged in two goes
    assert torch.allclose(small, torch.nn.functional.avg_pool2d(image, factor), atol=1e-5)


def test_shrinking_does_not_alias():
    stripes = (torch.arange(300) % 3 == 0).float().expand(1, 3, 300, 300)
    small = warp_affine(stripes, similarity(0.3, 1 / 11, 0, 0), 20, padding="border")[..., 6:14, 9:14]
    assert (small - 1 / 3).abs().max() < 0.05


def test_a_huge_face_is_cut_out_of_a_picture_whose_sides_are_odd():
    y, x = torch.meshgrid(torch.arange(1001.0), torch.arange(1203.0), indexing="ij")
    ramp = torch.stack((x / 1203, y / 1001, (x + y) / 2204))[None]
    matrix = similarity(0.0, 1 / 60, -1.3, -1.1)
    small = warp_affine(ramp, matrix, 12, padding="border")
    centres = transform_points(invert_affine(matrix), torch.tensor([[[4.0, 7.0], [9.0, 3.0]]], dtype=torch.float64))[0]
    for (u, v), (i, j) in zip(centres.tolist(), ((7, 4), (3, 9)), strict=True):
        assert small[0, :, i, j].tolist() == pytest.approx([u / 1203, v / 1001, (u + v) / 2204], abs=1e-3)


def test_agrees_with_opencv_on_a_rotation():
    image, matrix = smooth_image(), similarity(0.5, 1.4, 20, -30)
    ours = warp_affine(image, matrix, (90, 110), padding="border")[0].permute(1, 2, 0).numpy()
    pixels = image[0].permute(1, 2, 0).contiguous().numpy()
    theirs = cv2.warpAffine(pixels, matrix[0].numpy(), (110, 90), borderMode=cv2.BORDER_REPLICATE)
    assert np.abs(ours - theirs).max() < 0.02


def test_warping_is_differentiable_in_image_and_matrix():
    image = torch.rand(1, 1, 6, 6, dtype=torch.float64, requires_grad=True)
    matrix = similarity(0.2, 0.45, 1.13, 0.77).requires_grad_()
    assert torch.autograd.gradcheck(lambda i, m: warp_affine(i, m, 3, padding="border"), (image, matrix))


def test_half_precision_images_keep_their_type_and_exact_places():
    image = smooth_image(64, 512)
    half = warp_affine(image.bfloat16(), identity(), (64, 512))
    assert half.dtype == torch.bfloat16
    assert (half.float() - image).abs().max() < 0.01


def test_unknown_padding_is_refused():
    with pytest.raises(ArgumentError, match="padding"):
        sample(torch.rand(1, 3, 8, 8), torch.zeros(1, 2, 2, 2), padding="wrap")


# --- picture <-> crop -------------------------------------------------------------------------------------------------


def alignment(angle=0.2, scale=1.5, x=-20.0, y=-10.0, size=64, image_size=(120, 96)):
    return Alignment(matrix=similarity(angle, scale, x, y)[0].numpy(), size=size, image_size=image_size)


@examples
@given(angles, st.floats(0.2, 5), st.floats(-50, 50), st.floats(-50, 50))
def test_points_go_to_the_crop_and_back(angle, scale, x, y):
    place = alignment(angle, scale, x, y)
    assert place.scale == pytest.approx(scale)
    p = points(0)[0]
    assert torch.allclose(place.to_image(place.to_crop(p)), p, atol=1e-8)
    assert np.allclose(place.to_crop(p.numpy()), place.to_crop(p).numpy())
    assert place.to_crop(p.float().numpy()).dtype == np.float32


def test_keypoints_land_on_the_template():
    source = transform_points(similarity(0.7, 0.3, 40, 12), ffhq_template(128)[None])[0]
    place = Alignment.from_keypoints(source.numpy(), (120, 96), 128)
    assert np.allclose(place.to_crop(source.numpy()), ffhq_template(128).numpy())
    assert place.scale == pytest.approx(1 / 0.3)
    bigger = place.resized(512)
    assert np.allclose(bigger.to_crop(source.numpy()), ffhq_template(512).numpy())


@settings(max_examples=15, deadline=None)
@given(angles, st.floats(0.8, 4), st.floats(-40, 40), st.floats(-40, 40), st.sampled_from([32, 64, 200]))
def test_pasting_what_was_cut_out_gives_the_picture_back(angle, scale, x, y, side):
    image, place = smooth_image(), alignment(angle, scale, x, y)
    crop = place.resized(side).crop(image) if side != 32 else place.crop(image)
    assert (place.paste(image, crop) - image).abs().max() < 0.04


def test_nothing_changes_outside_the_mask():
    image, place = torch.rand(1, 3, 96, 120), alignment()
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 20:40, 20:40] = 1
    pasted = place.paste(image, torch.ones(1, 3, 64, 64), mask)
    inside = transform_points(torch.from_numpy(place.matrix.copy()), _grid(120, 96))
    changed = (pasted != image).any(1)[0]
    far = ((inside < 18.5) | (inside > 41)).any(-1)
    assert not changed[far].any()
    core = ((inside > 22) & (inside < 38)).all(-1)
    assert core.sum() > 50
    assert (pasted[0, :, core] - 1).abs().max() < 1e-5
    assert torch.equal(place.paste(image, torch.ones(1, 3, 64, 64), torch.zeros(1, 1, 8, 8)), image)


def _grid(width, height):
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack((x, y), -1).double()


@pytest.mark.parametrize("side", [48, 64, 128, 512])
def test_there_is_no_step_at_the_border_of_a_pasted_crop(side):
    image, place = torch.zeros(1, 3, 96, 120), alignment(scale=0.9, x=10, y=0)
    pasted = place.paste(image, torch.ones(1, 3, side, side), feather=0.1)
    steps = max((pasted.diff(dim=2)).abs().max(), (pasted.diff(dim=3)).abs().max())
    assert pasted.max() == 1
    assert steps < 0.35  # the fade is 7 pixels wide, and a smoothstep is steepest at 1.5 / 7


def test_any_crop_size_shows_the_same_field():
    image, place = smooth_image(), alignment(scale=2.0, x=-60, y=-50)
    small, large = place.crop(image), place.resized(256).crop(image)
    pasted = [place.paste(image * 0, crop) for crop in (small, large)]
    assert (pasted[0] - pasted[1]).abs().max() < 0.02


def test_a_face_at_the_edge_is_continued_and_known_to_be():
    image = smooth_image() * 0.8 + 0.2
    place = alignment(angle=0.4, scale=1.0, x=40, y=35)
    for padding in ("reflection", "border"):
        assert place.crop(image, padding=padding).min() > 0.15
    cover = place.coverage()
    grid = place.to_image(_grid(64, 64))
    inside = ((grid > 0.5) & (grid < torch.tensor([118.5, 94.5]))).all(-1)
    outside = ((grid < -1.5) | (grid > torch.tensor([120.5, 96.5]))).any(-1)
    assert (cover[0, 0][inside] == 1).all()
    assert (cover[0, 0][outside] == 0).all()
    assert place.paste(image, place.crop(image)).shape == image.shape


def test_a_crop_beside_the_picture_changes_nothing():
    image, place = smooth_image(), alignment(angle=0.0, x=5000.0)
    assert torch.equal(place.paste(image, torch.ones(1, 3, 64, 64)), image)


def test_a_batch_shares_an_alignment():
    image, place = smooth_image(batch=3), alignment()
    crop = place.crop(image)
    assert torch.allclose(crop[1:2], place.crop(image[1:2]))
    assert torch.allclose(place.paste(image, crop)[2:], place.paste(image[2:], crop[2:]))


def test_bad_alignments_are_refused():
    with pytest.raises(ArgumentError, match="matrix"):
        Alignment(matrix=np.zeros((2, 3)), size=64, image_size=(10, 10))
    with pytest.raises(ArgumentError, match="matrix"):
        Alignment(matrix=np.full((2, 3), np.nan), size=64, image_size=(10, 10))
    with pytest.raises(ArgumentError, match="sizes"):
        alignment(size=0)
    with pytest.raises(ArgumentError, match="120x96"):
        alignment().crop(torch.rand(1, 3, 120, 96))


def test_the_window_of_a_paste_is_flat_inside_and_ends_at_nothing():
    window = border_window(100, 0.1)[0, 0]
    assert (window[10:90, 10:90] == 1).all()
    assert window[0].max() < 0.01
    assert (window[0:11, 50].diff() >= 0).all()

"""Fields: where in a photo each pixel of the target is read from."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from idfsr_core.errors import ArgumentError
from idfsr_core.fields import (
    METHODS,
    piecewise_affine_field,
    thin_plate_spline,
    thin_plate_spline_field,
    warp_field,
)
from idfsr_core.geometry import invert_affine, pixel_grid, similarity_from_points, transform_points


def face_points(seed=0, batch=1, size=64, jitter=0.0, count=20):
    """Distinct points on rings around the middle."""
    generator = torch.Generator().manual_seed(seed)
    angle = torch.arange(count, dtype=torch.float64) * 2.4
    radius = size * (0.08 + 0.25 * torch.arange(count, dtype=torch.float64) / count)
    ring = torch.stack((angle.cos(), angle.sin()), -1) * radius[:, None] + size / 2
    return ring[None] + jitter * torch.randn(batch, count, 2, generator=generator, dtype=torch.float64)


def read_field(field, points):
    """The field at (subpixel) points, bilinear."""
    grid = (2 * points + 1) / field.shape[1] - 1
    return torch.nn.functional.grid_sample(field.movedim(-1, 1), grid[:, None], align_corners=False)[:, :, 0].mT


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 9999), st.integers(3, 30), st.floats(0.01, 1000))
def test_a_spline_goes_through_its_points(seed, count, unit):
    points, values = face_points(count=count) * unit, face_points(seed, jitter=3.0, count=count)
    assert torch.allclose(thin_plate_spline(points, values)(points), values, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 9999), st.floats(0, 100))
def test_a_spline_of_an_affine_map_is_that_map(seed, smoothing):
    matrix = torch.randn(1, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    points, elsewhere = face_points(), torch.rand(1, 50, 2, dtype=torch.float64) * 200
    spline = thin_plate_spline(points, transform_points(matrix, points), smoothing=smoothing)
    assert torch.allclose(spline(elsewhere), transform_points(matrix, elsewhere), atol=1e-6)


def test_smoothing_bends_less():
    points, values = face_points(), face_points(3, jitter=3.0)
    errors = [
        float((thin_plate_spline(points, values, smoothing=s)(points) - values).norm()) for s in (0, 0.01, 1, 100)
    ]
    assert errors == sorted(errors)
    assert errors[0] < 1e-6 < errors[1]


def test_points_in_one_place_have_no_spline():
    points = face_points()
    points[:, 1] = points[:, 0]
    with pytest.raises(ArgumentError, match="two in one place"):
        thin_plate_spline(points, face_points(1, jitter=2.0))
    assert thin_plate_spline(points, face_points(1, jitter=2.0), smoothing=0.1)(points).isfinite().all()
    with pytest.raises(ArgumentError, match="line"):
        thin_plate_spline(points * torch.tensor([1.0, 0.0]), points)


def test_a_spline_is_differentiable_in_its_points():
    points, values = face_points(count=5).requires_grad_(), face_points(1, jitter=2.0, count=5).requires_grad_()
    where = torch.tensor([[[20.3, 31.1], [50.2, 12.7]]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda p, v: thin_plate_spline(p, v, smoothing=0.1)(where), (points, values))


@pytest.mark.parametrize("oversampling", [1, 3])
def test_the_coarse_grid_is_close_to_the_exact_field(oversampling):
    source, target = face_points(1, 2, jitter=2.0) + 10, face_points(2, 2, jitter=2.0)
    fields = [thin_plate_spline_field(source, target, 64, step=s, oversampling=oversampling) for s in (0, 4)]
    assert fields[0].shape == (2, 64 * oversampling, 64 * oversampling, 2)
    assert (fields[0] - fields[1]).norm(dim=-1).max() < 0.1


@pytest.mark.parametrize("size", [5, 30, 64])
def test_any_size_has_a_field(size):
    points = face_points(size=size)
    for method in METHODS:
        field = warp_field(points, points, size, method)
        assert torch.allclose(field[0], pixel_grid(size, size, dtype=torch.float64), atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=10, deadline=None)
@given(angle=st.floats(-3, 3), scale=st.floats(0.2, 5), shift=st.floats(-100, 100))
def test_every_method_recovers_a_similarity(method, angle, scale, shift):
    a, b = scale * math.cos(angle), scale * math.sin(angle)
    to_photo = torch.tensor([[[a, -b, shift], [b, a, -shift]]], dtype=torch.float64)
    target = face_points(1, jitter=1.0)
    field = warp_field(transform_points(to_photo, target), target, 64, method)
    expected = transform_points(to_photo, pixel_grid(64, 64, dtype=torch.float64).view(1, -1, 2)).view(1, 64, 64, 2)
    assert (field - expected).norm(dim=-1).max() < 1e-3 * scale


def test_landmarks_are_read_from_their_places():
    source, target = face_points(5, 3, jitter=1.5), face_points(6, 3, jitter=1.5)
    spline = thin_plate_spline_field(source, target, 64, smoothing=0.0, step=0, oversampling=4)
    pieces = piecewise_affine_field(source, target, 64, oversampling=4)
    for field in (spline, pieces):  # of 4 x 4 positions a pixel
        found = read_field(field, (target + 0.5) * 4 - 0.5)
        assert (found - source).norm(dim=-1).max() < 0.25


def test_piecewise_fields_are_affine_on_a_triangle_and_continuous():
    source, target = face_points(1, jitter=1.0), face_points(2, jitter=1.0)
    field = piecewise_affine_field(source, target, 96)[0]
    second = field[:, 2:] - 2 * field[:, 1:-1] + field[:, :-2]
    assert (second.norm(dim=-1) < 1e-6).double().mean() > 0.7  # bends only at edges
    assert field.diff(dim=0).norm(dim=-1).max() < 4
    assert field.diff(dim=1).norm(dim=-1).max() < 4


def test_piecewise_agrees_with_skimage_inside_the_landmarks():
    transform = pytest.importorskip("skimage.transform").PiecewiseAffineTransform
    source, target = face_points(1, jitter=1.0), face_points(2, jitter=1.0)
    theirs = transform.from_estimate(target[0].numpy(), source[0].numpy())
    ours = piecewise_affine_field(source, target, 64)[0]
    grid = pixel_grid(64, 64, dtype=torch.float64)
    inside = ((grid - target.mean((0, 1))).norm(dim=-1) < 10).numpy()
    expected = theirs(grid.numpy()[inside])
    assert np.linalg.norm(ours.numpy()[inside] - expected, axis=-1).max() < 1e-3


def test_repeated_and_distant_landmarks_do_no_harm():
    source, target = face_points(1, jitter=1.0), face_points(1, jitter=1.0)
    target[:, 3], target[:, 4] = target[:, 2], torch.tensor([500.0, -300.0])
    field = piecewise_affine_field(source, target, 64)
    assert field.shape == (1, 64, 64, 2)
    assert field.isfinite().all()


@pytest.mark.parametrize("method", METHODS)
def test_fields_are_differentiable_in_both_sets_of_points(method):
    source, target = face_points(1, jitter=1.0, size=12, count=5), face_points(2, jitter=1.0, size=12, count=5)
    function = lambda s, t: warp_field(s, t, 4, method)
    assert torch.autograd.gradcheck(function, (source.requires_grad_(), target.requires_grad_()), eps=1e-7, atol=1e-4)


def test_far_from_the_face_the_spline_moves_with_the_best_similarity():
    source, target = face_points(1, jitter=1.0), face_points(2, jitter=1.0)
    field = thin_plate_spline_field(source, target, 64)
    rigid = transform_points(
        invert_affine(similarity_from_points(source, target)), pixel_grid(64, 64).double().view(1, -1, 2)
    )
    corner = (field - rigid.view(1, 64, 64, 2))[0, 0, 0].norm()
    assert corner < 3


def test_unknown_methods_are_refused():
    with pytest.raises(ArgumentError, match="similarity, affine, tps, piecewise"):
        warp_field(face_points(), face_points(), 32, "magic")

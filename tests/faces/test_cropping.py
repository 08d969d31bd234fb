"""Crops around faces: the way there and back, and the pixels."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from idfsr_core.faces.cropping import (
    FIELD,
    box_from_keypoints,
    crop_from_box,
    crop_from_keypoints,
    sample_crops,
    to_crop,
    to_picture,
)

FACE = torch.tensor([[[40.0, 50.0], [60.0, 50.0], [50.0, 62.0], [42.0, 71.0], [58.0, 71.0]]])


@settings(max_examples=40, deadline=None)
@given(
    x=st.floats(-50, 500), y=st.floats(-50, 500), side=st.floats(1, 900), angle=st.floats(-math.pi, math.pi),
    seed=st.integers(0, 1000),
)  # fmt: skip
def test_to_crop_undoes_to_picture(x, y, side, angle, seed):
    crop = torch.tensor([[x, y, side, math.cos(angle), math.sin(angle)]], dtype=torch.float64)
    points = torch.randn(1, 6, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    torch.testing.assert_close(to_crop(to_picture(points, crop), crop), points, rtol=1e-6, atol=1e-6)


def test_crop_of_a_box_is_a_square_around_it():
    crop = crop_from_box(torch.tensor([[10.0, 20.0, 30.0, 60.0]]))
    assert crop.tolist()[0] == pytest.approx([20, 40, FIELD * 40, 1, 0])


def test_box_encloses_an_upright_face():
    x0, y0, x1, y1 = box_from_keypoints(FACE)[0].tolist()
    assert x0 < 40
    assert x1 > 60
    assert y0 < 45
    assert y1 > 75
    assert (x0 + x1) / 2 == pytest.approx(50)


@pytest.mark.parametrize("degrees", [-80, -30, 15, 90, 180])
def test_crop_turns_with_the_face(degrees):
    angle = math.radians(degrees)
    turn = torch.tensor([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    crop = crop_from_keypoints(FACE @ turn)
    assert crop[0, 3].item() == pytest.approx(math.cos(angle), abs=1e-5)
    assert crop[0, 4].item() == pytest.approx(math.sin(angle), abs=1e-5)
    upright = to_crop(FACE @ turn, crop) * crop[:, 2:3, None]
    expected = to_crop(FACE, crop_from_keypoints(FACE)) * crop[:, 2:3, None]
    torch.testing.assert_close(upright, expected, atol=1e-4, rtol=1e-4)


def test_degenerate_keypoints_give_a_finite_crop():
    crop = crop_from_keypoints(torch.full((1, 5, 2), 3.0))
    assert torch.isfinite(crop).all()
    assert crop[0, 2] > 0


def _ramp(height: int, width: int) -> torch.Tensor:
    """A picture whose red tells x and whose green tells y, in thousandths of a pixel."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([x, y, torch.zeros_like(x)]).float()[None] / 1000


@pytest.mark.parametrize("side", [20.0, 64.0, 150.0, 310.0])
def test_sampled_pixels_come_from_where_the_crop_says(side):
    image = _ramp(400, 420)
    crop = torch.tensor([[205.3, 199.6, side, math.cos(0.4), math.sin(0.4)]])
    pixels = sample_crops(image, crop, 32)
    ticks = (torch.arange(32) + 0.5) / 32 - 0.5
    grid = torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), -1).reshape(1, -1, 2)
    expected = to_picture(grid, crop)[0].T / 1000
    torch.testing.assert_close(
        pixels[0, :2].flatten(1), expected, atol=2e-4 * max(1.0, side / 64), rtol=0
    )  # cubic kernel on a ramp


def test_shrinking_does_not_alias():
    checks = (torch.arange(256)[:, None] + torch.arange(256)[None]) % 2
    image = checks.float().expand(1, 3, -1, -1)
    pixels = sample_crops(image, crop_from_box(torch.tensor([[48.0, 48.0, 208.0, 208.0]])), 32)
    assert (pixels - 0.5).abs().max() < 0.02


def test_each_picture_of_a_batch_has_its_own_crop():
    images = torch.cat([torch.full((1, 3, 16, 16), 0.2), torch.full((1, 3, 16, 16), 0.8)])
    boxes = torch.tensor([[1.0, 1.0, 5.0, 5.0], [-40.0, -40.0, 60.0, 60.0]])  # the second shrinks, the first grows
    pixels = sample_crops(images, crop_from_box(boxes), 16)
    torch.testing.assert_close(pixels.mean((1, 2, 3)), torch.tensor([0.2, 0.8]))


def test_many_crops_of_one_picture_are_those_of_its_copies():
    image = torch.rand(1, 3, 70, 90)
    crops = torch.tensor([[30.0, 30, 20, 1, 0], [40.0, 35, 66, 0.8, 0.6], [60.0, 20, 300, 1, 0]])
    copies = sample_crops(image.expand(3, -1, -1, -1), crops, 16)
    torch.testing.assert_close(sample_crops(image, crops, 16), copies)

"""Masks: what is forgotten of a face."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from idfsr_core.errors import ArgumentError
from idfsr_core.masking import face_mask, hull_mask, keypoint_mask, mask_strength, soft_mask, user_mask


def face_landmarks(size=128.0, batch=1):
    """A drawn face in the 300-W order: an oval jaw, brows, nose, eyes and mouth."""
    t = torch.linspace(0, math.pi, 17)
    jaw = torch.stack((0.5 - 0.27 * t.cos(), 0.5 + 0.36 * t.sin()), 1)
    arc = lambda x0, x1, y, bend, n: torch.stack(
        (torch.linspace(x0, x1, n), y - bend * torch.linspace(0, math.pi, n).sin()), 1
    )
    brows = torch.cat((arc(0.28, 0.45, 0.42, 0.03, 5), arc(0.55, 0.72, 0.42, 0.03, 5)))
    nose = torch.cat(
        (torch.stack((torch.full((4,), 0.5), torch.linspace(0.45, 0.6, 4)), 1), arc(0.45, 0.55, 0.62, 0, 5))
    )
    ring = lambda x, y, rx, ry, n: torch.stack(
        (x - rx * (torch.arange(n) * 2 * math.pi / n).cos(), y - ry * (torch.arange(n) * 2 * math.pi / n).sin()), 1
    )
    eyes = torch.cat((ring(0.37, 0.47, 0.05, 0.02, 6), ring(0.63, 0.47, 0.05, 0.02, 6)))
    mouth = torch.cat((ring(0.5, 0.72, 0.11, 0.05, 12), ring(0.5, 0.72, 0.08, 0.01, 8)))
    return (torch.cat((jaw, brows, nose, eyes, mouth)) * size)[None].repeat(batch, 1, 1)


def values_at(mask, points):
    grid = (2 * points + 1) / mask.shape[-1] - 1
    return torch.nn.functional.grid_sample(mask, grid[:, None], align_corners=False)[:, 0, 0]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 999), st.sampled_from([32, 64, 128]), st.floats(0, 0.1), st.floats(0, 0.2), st.floats(0, 0.6))
def test_a_mask_lies_in_0_to_1_and_covers_the_landmarks(seed, size, grow, feather, forehead):
    noise = torch.randn(2, 68, 2, generator=torch.Generator().manual_seed(seed)) * 0.02
    landmarks = (face_landmarks(1.0, 2) + noise) * size
    mask = face_mask(landmarks, size, grow=grow, feather=feather, forehead=forehead)
    assert mask.shape == (2, 1, size, size)
    assert mask.min() >= 0
    assert mask.max() == 1
    inside = ((landmarks > 1) & (landmarks < size - 2)).all(-1)
    assert (values_at(mask, landmarks)[inside] > 0.5).all()  # a pixel beside the outline may lie outside of it


def test_background_and_hair_stay_while_the_forehead_goes():
    mask = face_mask(face_landmarks())[0, 0]
    assert mask[5].max() == 0
    assert mask[:, 5].max() == 0
    assert mask[45, 64] == 1  # between the brows and the hairline
    assert mask[20, 64] == 0
    assert face_mask(face_landmarks(), forehead=0.0)[0, 0][40, 64] == 0


def test_grow_and_feather_are_fractions_of_the_crop():
    landmarks = face_landmarks()
    area = lambda **options: face_mask(landmarks, 128, **options).mean()
    assert area(grow=0.05) > area(grow=0.0) > area(grow=-0.05)
    assert area(feather=0.1) > area(feather=0.0)
    edge = face_mask(landmarks, 128, grow=0.0, feather=0.125)[0, 0, 70]
    fading = ((edge > 0) & (edge < 1)).sum()
    assert 26 <= fading <= 36  # sixteen pixels on either side
    large = face_mask(landmarks * 4 + 1.5, 512, grow=0.03, feather=0.06)
    small = face_mask(landmarks, 128, grow=0.03, feather=0.06)
    assert (torch.nn.functional.avg_pool2d(large, 4) - small).abs().max() < 0.03


def test_the_hull_of_a_square_is_the_square():
    square = torch.tensor([[[20.0, 20.0], [40.0, 20.0], [40.0, 40.0], [20.0, 40.0], [30.0, 30.0]]])
    mask = hull_mask(square, 64)
    assert (mask[0, 0, 20:41, 20:41] == 1).all()
    assert mask.sum() == 21 * 21


def test_a_turned_face_gets_a_turned_mask():
    landmarks = face_landmarks()
    turned = torch.stack((127 - landmarks[..., 1], landmarks[..., 0]), -1)
    expected = face_mask(landmarks).rot90(-1, (2, 3))
    assert (face_mask(turned) - expected).abs().max() < 1e-3


def test_five_points_give_about_the_same_face():
    landmarks = face_landmarks()
    five = torch.stack(
        (
            landmarks[:, 36:42].mean(1),
            landmarks[:, 42:48].mean(1),
            landmarks[:, 30],
            landmarks[:, 48],
            landmarks[:, 54],
        ),
        1,
    )
    rough, fine = keypoint_mask(five) > 0.5, face_mask(landmarks) > 0.5
    assert (rough & fine).sum() / (rough | fine).sum() > 0.7


@pytest.mark.parametrize("shape", [(5, 7), (200, 100), (128, 128)])
def test_a_drawn_mask_of_any_size_covers_the_same_field(shape):
    drawn = torch.zeros(1, 1, *shape)
    drawn[..., shape[1] // 2 :] = 1
    mask = user_mask(drawn, 64)
    assert mask.shape == (1, 1, 64, 64)
    assert mask.mean().item() == pytest.approx(drawn.mean().item(), abs=0.02)
    assert mask[..., 0].max() == 0
    assert mask[..., -1].min().item() == pytest.approx(1)


def test_a_drawn_mask_is_grown_and_feathered():
    drawn = torch.zeros(1, 1, 100, 100)
    drawn[..., 40:60, 40:60] = 1
    grown = user_mask(drawn, 100, grow=0.1)
    assert grown.sum() == 40 * 40
    assert user_mask(drawn, 100, grow=-0.05).sum() == 10 * 10
    soft = user_mask(drawn, 100, feather=0.1)
    assert (soft[drawn > 0] == 1).all()
    assert ((soft > 0) & (soft < 1)).any()
    assert torch.equal(user_mask(drawn, 100), drawn)


def test_bad_masks_and_landmarks_are_refused():
    with pytest.raises(ArgumentError, match="mask"):
        user_mask(torch.rand(1, 3, 8, 8))
    with pytest.raises(ArgumentError, match="mask"):
        user_mask(torch.full((1, 1, 8, 8), float("nan")))
    with pytest.raises(ArgumentError, match="mask"):
        user_mask(torch.ones(1, 1, 8, 8, dtype=torch.uint8))
    with pytest.raises(ArgumentError, match="landmarks"):
        face_mask(torch.rand(1, 67, 2))
    with pytest.raises(ArgumentError, match="keypoints"):
        keypoint_mask(torch.rand(5, 2))
    with pytest.raises(ArgumentError, match="mode"):
        soft_mask(torch.ones(1, 1, 4, 4), 8, "firm")
    with pytest.raises(ArgumentError, match="scale"):
        mask_strength(0.0)


@settings(max_examples=50, deadline=None)
@given(st.floats(1, 64), st.floats(1, 64))
def test_the_milder_the_scale_the_more_stays(a, b):
    low, high = sorted((a, b))
    assert mask_strength(low) <= mask_strength(high)


def test_the_modes_of_softness():
    mask = torch.rand(3, 1, 8, 8)
    assert mask_strength(1.0) == 0
    assert mask_strength(8.0) == 1
    assert mask_strength(2.0).item() == pytest.approx(1 / 3)
    scales = torch.tensor([2.0, 8.0, 32.0])
    for mode in ("soft", "auto"):
        soft = soft_mask(mask, scales, mode)
        assert torch.allclose(soft[0], mask[0] / 3)
        assert torch.equal(soft[1:], mask[1:])
    assert torch.equal(soft_mask(mask, 2.0, "hard"), mask)

"""Metrics against closed forms."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from idfsr_core.errors import ArgumentError
from idfsr_core.evaluation import metrics


@given(level=st.floats(0.01, 0.4))
@settings(max_examples=20, deadline=None)
def test_psnr_of_a_constant_error_is_its_decibels(level: float):
    truth = torch.full((2, 3, 16, 16), 0.5)
    found = metrics.psnr(truth + torch.tensor([level, -level]).view(2, 1, 1, 1), truth)
    assert found.numpy() == pytest.approx([-20 * np.log10(level)] * 2, abs=1e-3)


def test_psnr_of_known_noise():
    generator = torch.Generator().manual_seed(0)
    truth = torch.full((1, 3, 256, 256), 0.5)
    noise = 0.05 * torch.randn(truth.shape, generator=generator)
    assert float(metrics.psnr(truth + noise, truth)) == pytest.approx(-20 * np.log10(0.05), abs=0.05)


def test_equal_pictures_reach_the_limits():
    image = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    assert metrics.psnr(image, image).tolist() == [metrics.PSNR_LIMIT] * 2
    assert metrics.ssim(image, image).numpy() == pytest.approx([1, 1], abs=1e-4)
    small = torch.nn.functional.avg_pool2d(image, 8)
    assert float(metrics.lr_psnr(image, small).min()) > 90


def test_values_beyond_the_range_are_judged_as_they_will_be_shown():
    truth = torch.ones(1, 3, 16, 16)
    assert float(metrics.psnr(truth + 0.3, truth)) == metrics.PSNR_LIMIT


def test_ssim_falls_with_noise_and_is_one_number_per_face():
    generator = torch.Generator().manual_seed(2)
    truth = torch.rand(3, 3, 32, 32, generator=generator)
    noise = torch.randn(truth.shape, generator=generator)
    little, much = metrics.ssim(truth + 0.02 * noise, truth), metrics.ssim(truth + 0.2 * noise, truth)
    assert little.shape == (3,)
    assert bool((little > much).all())


def test_lr_psnr_sees_the_low_band_only():
    flat = torch.full((1, 3, 32, 32), 0.5)
    checker = (torch.arange(32)[:, None] + torch.arange(32)) % 2 - 0.5
    lr = torch.full((1, 3, 4, 4), 0.5)
    assert float(metrics.lr_psnr(flat + 0.4 * checker, lr)) > 90
    assert float(metrics.lr_psnr(flat + 0.1, lr)) == pytest.approx(20, abs=1e-3)


def test_identity_similarity_is_a_cosine():
    vectors = np.random.default_rng(0).normal(size=(5, 16))
    assert metrics.identity_similarity(vectors, 3 * vectors) == pytest.approx(np.ones(5))
    assert metrics.identity_similarity(vectors, -vectors) == pytest.approx(-np.ones(5))
    assert metrics.identity_similarity(np.array([[1.0, 0]]), np.array([[1.0, 1]])) == pytest.approx([2**-0.5])
    assert metrics.identity_similarity(np.zeros((1, 4)), np.ones((1, 4))).tolist() == [0]


def test_landmark_error_counts_in_eye_distances():
    truth = np.random.default_rng(0).uniform(0, 100, (1, 68, 2))
    truth[:, 36:42], truth[:, 42:48] = [40, 50], [80, 50]
    assert metrics.landmark_error(truth + np.array([3, 4]), truth) == pytest.approx([5 / 40])


def test_frechet_distance_of_equal_sets_is_zero():
    features = np.random.default_rng(0).normal(size=(20, 64))
    assert metrics.frechet_distance(features, features) == pytest.approx(0, abs=1e-5)
    assert metrics.frechet_distance(features, features[::-1]) == pytest.approx(0, abs=1e-5)


def test_frechet_distance_of_a_shift_is_its_square():
    features = np.random.default_rng(0).normal(size=(30, 8))
    assert metrics.frechet_distance(features + 2, features) == pytest.approx(8 * 4, rel=1e-6)


def test_frechet_distance_of_two_widths_of_one_axis():
    values = np.random.default_rng(0).normal(size=(50, 1))
    deviation = values.std(ddof=1)
    wide = (values - values.mean()) * 3 + values.mean()
    assert metrics.frechet_distance(wide, values) == pytest.approx((2 * deviation) ** 2, rel=1e-6)


def test_grid_excess_tells_a_printed_grid_from_a_photo():
    generator = torch.Generator().manual_seed(3)
    smooth = torch.nn.functional.interpolate(torch.rand(2, 3, 16, 16, generator=generator), size=128, mode="bicubic")
    smooth = smooth + 0.01 * torch.randn(smooth.shape, generator=generator)
    assert float(metrics.grid_excess(smooth).max()) < 1.7
    print_ = 0.01 * (torch.arange(128) % 4 == 0)
    assert float(metrics.grid_excess(smooth + print_).min()) > 4


@pytest.mark.parametrize(
    "call",
    [
        lambda: metrics.psnr(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 9, 9)),
        lambda: metrics.identity_similarity(np.zeros((2, 4)), np.zeros((2, 5))),
        lambda: metrics.landmark_error(np.zeros((1, 5, 2)), np.zeros((1, 5, 2))),
        lambda: metrics.frechet_distance(np.zeros((1, 4)), np.zeros((3, 4))),
        lambda: metrics.grid_excess(torch.zeros(1, 3, 8, 8), 4),
    ],
)
def test_wrong_shapes_are_named(call):
    with pytest.raises(ArgumentError):
        call()

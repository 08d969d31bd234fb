"""The null-space composite and consistency with the LR pixels."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from idfsr_core.diffusion.composite import composite, high_band, make_consistent
from idfsr_core.diffusion.conditioning import downsample, upsample

from .faces import random_conditioning


def test_without_style_the_composite_is_the_upsampled_face():
    cond = random_conditioning().without_style()
    assert torch.equal(composite(cond), cond.upsampled)


def test_outside_the_mask_the_composite_is_the_upsampled_face():
    cond = random_conditioning()
    cond = replace(cond, mask=torch.zeros_like(cond.mask))
    assert torch.equal(composite(cond), cond.upsampled)


def test_the_high_band_of_a_flat_photo_is_nothing():
    assert high_band(torch.full((1, 3, 32, 32), 0.4), 4).abs().max() < 1e-6


@given(lr=st.integers(3, 31), seed=st.integers(0, 99))
def test_consistency_brings_the_estimate_nearer_to_the_lr_pixels(lr, seed):
    generator = torch.Generator().manual_seed(seed)
    # smooth faces: bicubic stands for the pseudo-inverse only where neighbouring LR pixels resemble each other
    x0 = upsample(torch.rand(1, 3, 3, 3, generator=generator), 32)
    y = downsample(upsample(torch.rand(1, 3, 3, 3, generator=generator), 32), lr)
    before = (downsample(x0, lr) - y).square().mean()
    after = (downsample(make_consistent(x0, y, 1.0), lr) - y).square().mean()
    assert after <= before * 0.5 + 1e-6


def test_consistency_of_strength_zero_does_nothing():
    x0 = torch.rand(1, 3, 32, 32)
    assert torch.equal(make_consistent(x0, torch.rand(1, 3, 4, 4), 0.0), x0)


@pytest.mark.parametrize("strength", [0.25, 0.5, 1.0])
def test_a_consistent_flat_face_takes_the_lr_colour(strength):
    fixed = make_consistent(torch.full((1, 3, 32, 32), 0.2), torch.full((1, 3, 4, 4), 0.6), strength)
    assert torch.allclose(fixed, torch.full_like(fixed, 0.2 + 0.4 * strength), atol=1e-5)

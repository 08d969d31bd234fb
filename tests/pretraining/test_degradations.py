"""LR faces: sizes, ranges, and that each kind does what its name says."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from idfsr_core.errors import ArgumentError
from idfsr_core.pretraining.degradations import KINDS, degrade, gaussian_blur, jpeg


@settings(deadline=None, max_examples=25)
@given(kind=st.sampled_from(KINDS), scale=st.floats(1, 64), seed=st.integers(0, 1000))
def test_size_and_range(kind, scale, seed):
    generator = torch.Generator().manual_seed(seed)
    lr = degrade(torch.rand(2, 3, 64, 64, generator=generator), scale, kind, generator)
    assert lr.shape == (2, 3, round(64 / scale), round(64 / scale))
    assert 0 <= lr.min() <= lr.max() <= 1


def test_area_is_the_mean_of_the_covered_pixels():
    image = torch.rand(1, 3, 32, 32)
    assert torch.allclose(degrade(image, 8)[0, 1, 2, 3], image[0, 1, 16:24, 24:32].mean())


def test_blind_is_drawn_anew_each_time_and_again_by_its_seed():
    image = torch.rand(1, 3, 64, 64)
    drawn = lambda seed: degrade(image, 4, "blind", torch.Generator().manual_seed(seed))
    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))


def test_blur_keeps_the_mean_and_lowers_the_contrast():
    image = torch.rand(1, 3, 64, 64)
    blurred = gaussian_blur(image, 2.0)
    assert blurred.mean() == pytest.approx(float(image.mean()), abs=0.01)
    assert blurred.std() < image.std() / 2


def test_lower_jpeg_quality_is_further_off():
    image = gaussian_blur(torch.rand(1, 3, 64, 64), 1.0)
    error = [float((jpeg(image, quality) - image).abs().mean()) for quality in (95, 60, 10)]
    assert error[0] < error[1] < error[2]


@pytest.mark.parametrize(("scale", "kind"), [(0.5, "area"), (8, "magic"), (1000, "area")])
def test_bad_values_are_refused(scale, kind):
    with pytest.raises(ArgumentError):
        degrade(torch.rand(1, 3, 32, 32), scale, kind)

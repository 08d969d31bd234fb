"""The LR pixels back from their enlargement."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from idfsr_core.diffusion.conditioning import upsample
from idfsr_core.diffusion.recovery import lr_from_crop
from idfsr_core.errors import ArgumentError


def picture(side: int, seed: int, low: float = 0.2, high: float = 0.8) -> Tensor:
    return low + (high - low) * torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 128), st.integers(0, 100))
def test_what_was_enlarged_comes_back(side: int, seed: int) -> None:
    lr = picture(side, seed)
    found = lr_from_crop(upsample(lr, 128).clamp(0, 1), side)
    assert found.shape == lr.shape
    assert float((found - lr).abs().max()) < 1e-4


@pytest.mark.parametrize("side", [4, 8, 16, 31, 60])
def test_clipped_pixels_do_not_spoil_the_others(side: int) -> None:
    """A third of the pixels black or white, whose enlargement goes beyond 0..1."""
    lr = picture(side, 1, -0.25, 1.25).clamp(0, 1)
    crop = upsample(lr, 128)
    assert float(crop.max()) > 1.02
    naive = lr_from_crop(crop.clamp(1e-6, 1 - 1e-6), side)
    found = lr_from_crop(crop.clamp(0, 1), side)
    assert float((found - lr).abs().max()) < 2e-3
    assert float((naive - lr).abs().max()) > 0.02, "the search behind the clipped pixels is what helps"


def test_noise_is_not_blown_up() -> None:
    lr, noise = picture(120, 2), torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(3))
    found = lr_from_crop(upsample(lr, 128) + 0.01 * noise, 120)
    assert float((found - lr).std()) < 0.02


def test_a_batch_is_its_items_and_keeps_its_type() -> None:
    crops = torch.cat([upsample(picture(9, seed), 128).clamp(0, 1) for seed in (1, 2)])
    both = lr_from_crop(crops, 9)
    assert torch.allclose(both, torch.cat([lr_from_crop(crops[:1], 9), lr_from_crop(crops[1:], 9)]), atol=1e-5)
    assert lr_from_crop(crops.half(), 9).dtype == torch.float16


def test_it_can_be_differentiated_after_a_call_under_inference_mode() -> None:
    with torch.inference_mode():
        lr_from_crop(picture(128, 4), 11)
    crop = picture(128, 4).requires_grad_()
    lr_from_crop(crop, 11).sum().backward()
    assert crop.grad is not None
    assert float(crop.grad.abs().sum()) > 0


@pytest.mark.parametrize(("shape", "side"), [((1, 3, 64, 60), 8), ((1, 3, 64, 64), 65), ((1, 3, 64, 64), 0)])
def test_what_cannot_be_is_refused(shape: tuple[int, ...], side: int) -> None:
    with pytest.raises(ArgumentError, match="crop"):
        lr_from_crop(torch.zeros(shape), side)

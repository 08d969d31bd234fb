"""A crop's colours brought to those of the picture."""

import pytest
import torch
from torch import Tensor

from idfsr_core.colour import METHODS, coarse_band, from_lab, match_colour, to_lab, wavelet_levels
from idfsr_core.diffusion.conditioning import downsample, upsample
from idfsr_core.errors import ArgumentError
from tests.tiny import portrait

TINT = torch.tensor([0.10, -0.05, -0.12]).view(1, 3, 1, 1)


def sharp(side: int = 128) -> Tensor:
    """A portrait with fine detail, away from the limits."""
    noise = 0.05 * torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(5))
    return (0.25 + 0.5 * portrait(side) + noise).clamp(0, 1)


def seen(crop: Tensor, scale: int) -> Tensor:
    """The same field as a picture of real pixels ``scale`` times as large shows it."""
    return upsample(downsample(crop, crop.shape[-1] // scale), crop.shape[-1]).clamp(0, 1)


def test_lab_and_back() -> None:
    image = torch.rand(1, 3, 9, 7, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(from_lab(to_lab(image)), image, atol=2e-3)
    white = to_lab(torch.ones(1, 3, 1, 1))[0, 0]
    assert abs(white[0] - 100) < 0.1
    assert abs(white[1:]).max() < 0.1


def test_none_gives_the_crop_itself() -> None:
    crop = sharp()
    assert match_colour(crop, seen(crop, 8), "none") is crop


@pytest.mark.parametrize("method", ["lab", "wavelet"])
@pytest.mark.parametrize("scale", [4, 8, 16])
def test_a_tint_goes_and_the_detail_stays(method: str, scale: int) -> None:
    crop = sharp()
    tinted = (crop * 0.85 + TINT).clamp(0, 1)
    back = match_colour(tinted, seen(crop, scale), method, scale=scale)
    before, after = (float((each - crop).abs().mean()) for each in (tinted, back))
    assert after < before / 3, f"{before:.4f} became {after:.4f}"
    fine, wanted = (float((each - seen(each, 4)).std()) for each in (back, crop))
    assert fine > 0.8 * wanted, "the detail is not flattened"


@pytest.mark.parametrize("method", ["lab", "wavelet"])
def test_what_agrees_already_hardly_changes(method: str) -> None:
    crop = sharp()
    assert float((match_colour(crop, seen(crop, 8), method, scale=8) - crop).abs().mean()) < 0.01


def test_wavelet_follows_the_place_where_lab_cannot() -> None:
    """A tint on one side only."""
    crop = sharp()
    ramp = torch.linspace(0, 1, 128).view(1, 1, 1, -1)
    tinted = (crop + TINT * ramp).clamp(0, 1)
    error = {
        m: float((match_colour(tinted, seen(crop, 8), m, scale=8) - crop).abs().mean()) for m in ("lab", "wavelet")
    }
    assert error["wavelet"] < error["lab"] / 2


def test_lab_looks_where_the_mask_is() -> None:
    """A background of another colour in the picture does not tint the face."""
    crop, before = sharp(), sharp()
    before[..., :, 64:] = torch.tensor([0.1, 0.2, 0.9]).view(1, 3, 1, 1)
    mask = torch.zeros(1, 1, 128, 128)
    mask[..., 8:120, 8:60] = 1
    inside = (slice(None), slice(None), slice(8, 120), slice(8, 60))
    masked = match_colour(crop, before, "lab", scale=8, mask=mask)
    assert float((masked[inside] - crop[inside]).abs().mean()) < 0.01
    assert float((match_colour(crop, before, "lab", scale=8)[inside] - crop[inside]).abs().mean()) > 0.05
    assert torch.equal(match_colour(crop, before, "lab", mask=0 * mask), crop), "an empty mask changes nothing"


@pytest.mark.parametrize("side", [128, 512])
def test_a_crop_of_any_size(side: int) -> None:
    crop = sharp(side)
    back = match_colour(crop + TINT.clamp_min(0), seen(crop, side // 16), "wavelet", scale=side / 16)
    assert back.shape == crop.shape
    assert float((back - crop).abs().mean()) < 0.02


def test_the_coarse_band_is_a_blur_of_the_stated_width() -> None:
    point = torch.zeros(1, 1, 129, 129)
    point[..., 64, 64] = 1
    for levels in (1, 2, 3, 4):
        row = coarse_band(point, levels)[0, 0].sum(0)
        deviation = float((row * (torch.arange(129) - 64.0).square()).sum()) ** 0.5
        assert abs(float(row.sum()) - 1) < 1e-5
        assert deviation == pytest.approx(((4**levels - 1) / 6) ** 0.5, rel=1e-4)
    assert wavelet_levels(512, 1) == 5, "as in StableSR"
    assert wavelet_levels(128, 16) > wavelet_levels(128, 4)


def test_what_does_not_fit_is_refused() -> None:
    crop = sharp()
    with pytest.raises(ArgumentError, match="none, lab, wavelet"):
        match_colour(crop, crop, "hue")
    with pytest.raises(ArgumentError, match="colour match"):
        match_colour(crop, crop[..., :64, :64], "lab")
    assert METHODS[0] == "none"

"""Pictures made bad on purpose."""

import pytest
import torch

from idfsr_core.degrading import Damage, spoil
from idfsr_core.errors import ArgumentError
from idfsr_core.images import down, up
from tests.tiny import portrait


def test_without_more_it_is_the_area_average() -> None:
    image = portrait(96)
    assert torch.allclose(spoil(image, Damage(scale=8)), down(image, 8))


def test_it_can_be_enlarged_back() -> None:
    image = portrait(100)
    back = spoil(image, Damage(scale=7), keep_size=True)
    assert back.shape == image.shape
    assert torch.allclose(back, up(down(image, 7), 100).clamp(0, 1))


@pytest.mark.parametrize(("change", "least"), [({"blur": 1.5}, 1e-3), ({"noise": 10.0}, 5e-3), ({"jpeg": 30}, 2e-3)])
def test_each_damage_does_something(change: dict[str, float], least: float) -> None:
    image = portrait(128, seed=2)
    clean, bad = spoil(image, Damage(scale=4)), spoil(image, Damage(scale=4, **change))  # pyright: ignore
    assert float((bad - clean).abs().mean()) > least
    assert 0 <= float(bad.min()) <= float(bad.max()) <= 1


def test_noise_has_the_stated_size_and_follows_the_seed() -> None:
    grey = torch.full((2, 3, 128, 128), 0.5)
    first, again, other = (spoil(grey, Damage(scale=1, noise=8, seed=s)) for s in (3, 3, 4))
    assert float((first - grey).std() * 255) == pytest.approx(8, rel=0.03)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first[0], first[1]), "each picture has its own"


def test_blur_is_told_in_pixels_of_the_small_picture() -> None:
    """A line blurred by one small pixel is as wide at any scale."""
    wide = []
    for scale in (2, 8):
        image = torch.zeros(1, 3, 32 * scale, 32 * scale)
        image[..., 16 * scale : 17 * scale] = 1
        row = spoil(image, Damage(scale=scale, blur=1.0))[0, 0, 16]
        place = torch.arange(32.0)
        mean = (row * place).sum() / row.sum()
        wide.append(float(((row * (place - mean).square()).sum() / row.sum()).sqrt()))
    assert wide[0] == pytest.approx(wide[1], rel=0.1)
    assert wide[0] == pytest.approx(1.03, rel=0.1)


@pytest.mark.parametrize("change", [{"scale": 0.5}, {"scale": 65}, {"blur": -1}, {"noise": 65}, {"jpeg": 0}])
def test_values_out_of_range_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ArgumentError, match=next(iter(change))):
        Damage(**change)  # pyright: ignore


def test_a_picture_that_would_vanish_is_refused() -> None:
    with pytest.raises(ArgumentError, match="16 for 40x12 pixels"):
        spoil(torch.zeros(1, 3, 12, 40), Damage(scale=16))


def test_it_stops_when_told() -> None:
    class Stop(Exception):
        pass

    def check() -> None:
        raise Stop

    with pytest.raises(Stop):
        spoil(portrait(32), Damage(scale=2), check=check)

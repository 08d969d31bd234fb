"""What a person's photos agree on, as it is laid into one of them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from idfsr_core.merging import LARGEST, agreed_detail, agreement
from idfsr_core.options import RestoreOptions
from idfsr_core.references import Reference
from idfsr_core.steps import warp_references
from tests import tiny
from tests.tiny import portrait

SIDE = 128


def face(dx: int = 0, side: int = SIDE) -> Tensor:
    """A drawn face [3, S, S], moved to the right."""
    return portrait(side, seed=5)[0].roll(dx, -1)


def marked(picture: Tensor) -> Tensor:
    """The same with a dark mole on a cheek."""
    picture = picture.clone()
    picture[:, 80:83, 45:48] -= 0.08
    return picture.clamp(0, 1)


def everywhere(count: int, side: int = SIDE) -> Tensor:
    return torch.ones(count, 1, side, side)


def test_a_photo_alone_agrees_with_itself() -> None:
    assert not agreed_detail(face(), torch.zeros(0, 3, SIDE, SIDE), everywhere(0)).any()
    assert agreed_detail(face(), torch.stack([face()] * 2), everywhere(2)).abs().max() < 0.01


def test_what_all_others_show_is_laid_in_and_what_one_shows_counts_for_one() -> None:
    plain, mole = face(), marked(face())
    every = agreed_detail(plain, torch.stack([mole] * 3), everywhere(3))
    single = agreed_detail(plain, torch.stack([mole, plain, plain]), everywhere(3))
    spot = (slice(None), slice(80, 83), slice(45, 48))
    assert every[spot].mean() < -0.04
    assert single[spot].mean() == pytest.approx(float(every[spot].mean()) / 3, abs=0.005)
    assert every[:, :60].abs().max() < 0.01


def test_photos_that_lie_a_little_beside_are_registered_first() -> None:
    base, beside = face(), face(2)
    inner = (slice(None), slice(24, 104), slice(24, 104))
    apart = (beside - base).clamp(-LARGEST, LARGEST)[inner].abs().mean()
    found = agreed_detail(base, beside[None], everywhere(1))[inner].abs().mean()
    assert found < 0.6 * apart


def test_light_is_the_chosen_photo_s() -> None:
    shade = torch.linspace(-0.15, 0.15, SIDE).expand(3, SIDE, SIDE)
    base = face() * 0.6 + 0.2
    inner = (slice(None), slice(16, -16), slice(16, -16))
    assert agreed_detail(base, (base + shade)[None], everywhere(1))[inner].abs().max() < 0.02


def test_where_the_others_have_no_pixels_nothing_is_laid_in() -> None:
    assert not agreed_detail(face(), marked(face())[None], 0 * everywhere(1)).any()


@settings(max_examples=20, deadline=None)
@given(side=st.sampled_from([32, 64, 96, 128]), count=st.integers(1, 3), seed=st.integers(0, 1000))
def test_the_change_is_small_whatever_the_photos_are(side: int, count: int, seed: int) -> None:
    noise = torch.rand(count + 1, 3, side, side, generator=torch.Generator().manual_seed(seed))
    detail = agreed_detail(noise[0], noise[1:], everywhere(count, side))
    assert detail.shape == (3, side, side)
    assert detail.isfinite().all()
    assert detail.abs().max() <= LARGEST


def reference(name: str, picture: Tensor) -> Reference:
    landmarks = torch.from_numpy(tiny.dense_template()).float() + 32
    return Reference(name=name, crop=picture[None], landmarks=landmarks, embedding=torch.ones(4) / 2, quality=1.0)


@pytest.mark.parametrize("method", ["similarity", "tps"])
def test_the_share_says_how_much_of_it_is_laid_in(method: str) -> None:
    wide = face(side=192)
    mole = wide.clone()
    mole[:, 112:115, 77:80] -= 0.08  # the same place as in the face, 32 pixels further in
    photos = [reference("plain", wide), *(reference(name, mole) for name in ("second", "third", "fourth"))]
    points = photos[0].landmarks[None] - 32
    lr, mask = torch.zeros(1, 3, 8, 8), torch.ones(1, 1, SIDE, SIDE)

    def spot(share: float, count: int = 4) -> float:
        options = RestoreOptions(merge=share, warp_method=method, reference_warp=method)
        warped = warp_references(photos[:count], points, lr, mask, options)
        assert warped.names[0] == "plain"
        assert torch.equal(warped.style, warped.images[:, 0])
        return float(warped.style[0, :, 80:83, 45:48].mean())

    none, half, whole = spot(0), spot(0.5), spot(1)
    assert whole < none - 0.04
    assert half == pytest.approx((none + whole) / 2, abs=0.003)
    assert spot(1, count=3) == pytest.approx((none + whole) / 2, abs=0.003)
    assert spot(1, count=2) == spot(1, count=1) == pytest.approx(none, abs=1e-6)


def test_one_other_photo_agrees_with_nobody() -> None:
    assert [agreement(others) for others in (0, 1, 2, 3, 7)] == [0, 0, 0.5, 1, 1]

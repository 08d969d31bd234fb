"""The denoiser's losses, with a small random encoder in the teacher's place."""

from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from idfsr_core.pretraining.losses import EncoderLoss, LossSettings, _slope, _texture_error, reconstruction_loss

KEYPOINTS = torch.tensor([[45.0, 58], [80, 58], [63, 76], [49, 92], [77, 92]]).expand(2, -1, -1)


class _Encoder(nn.Module):
    """Two stages and an embedding, as :class:`EncoderLoss` looks into them."""

    def __init__(self) -> None:
        super().__init__()
        stages = nn.Sequential(nn.Conv2d(3, 6, 7, 4), nn.Conv2d(6, 8, 3, 2))
        self.backbone = nn.ModuleDict({"stages": stages})
        self.last = nn.Linear(8, 5)
        self.requires_grad_(False)

    def forward(self, faces: Tensor) -> Tensor:
        stages = cast("nn.Module", self.backbone["stages"])
        return self.last(stages(faces * 2 - 1).amax((2, 3)))


@pytest.fixture
def encoder() -> EncoderLoss:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return EncoderLoss(cast("Any", _Encoder()))


def _pictures() -> tuple[Tensor, Tensor]:
    return tuple(torch.rand(2, 2, 3, 128, 128, generator=torch.Generator().manual_seed(4)))  # pyright: ignore


def _identity(encoder: EncoderLoss, estimate: Tensor, target: Tensor, aim: Tensor | None = None) -> Tensor:
    return encoder(estimate, target, KEYPOINTS, torch.Generator().manual_seed(1), aim)[0]


def test_the_true_face_has_no_identity_error(encoder: EncoderLoss):
    face, other = _pictures()
    assert _identity(encoder, face, face).abs().max() < 1e-5
    assert _identity(encoder, other, face).min() > 1e-4


def test_the_aim_moves_from_the_true_face_towards_the_vector(encoder: EncoderLoss):
    face, other = _pictures()
    with torch.no_grad():
        vector = torch.nn.functional.normalize(torch.randn(2, 5, generator=torch.Generator().manual_seed(2)))
        wanted = [float(_identity(encoder, other, face, share * vector).mean()) for share in (0.0, 1e6)]
        alone = float(_identity(encoder, other, other, 1e6 * vector).mean())
    assert wanted[0] == pytest.approx(float(_identity(encoder, other, face).mean()), abs=1e-6)
    assert wanted[1] == pytest.approx(alone, abs=1e-3), "nothing is left of the true face"
    assert wanted[0] != pytest.approx(wanted[1], abs=1e-3)


def test_only_a_given_share_of_the_vector_changes_the_loss(encoder: EncoderLoss):
    face, other = (picture * 2 - 1 for picture in _pictures())
    vector = torch.nn.functional.normalize(torch.ones(2, 5))

    def total(share: float, given: Tensor | None) -> float:
        generator = torch.Generator().manual_seed(1)
        settings = LossSettings(vector=share)
        return float(reconstruction_loss(other, face, KEYPOINTS, None, settings, encoder, generator, given)["loss"])

    assert total(0.0, vector) == total(0.0, None) == total(0.5, None)
    assert total(0.5, vector) != total(0.0, vector)
    assert total(0.5, torch.zeros_like(vector)) == pytest.approx(total(0.0, None), abs=1e-6)


def test_gradients_reach_the_estimate_through_every_term(encoder: EncoderLoss):
    face, other = (picture * 2 - 1 for picture in _pictures())
    lr = torch.zeros(2, 3, 8, 8)
    for name in ("pixel", "texture", "agreement", "identity", "feature"):
        estimate = other.clone().requires_grad_()
        none = dict.fromkeys(("pixel", "texture", "agreement", "identity", "feature"), 0.0)
        settings = LossSettings(**(none | {name: 1.0}))
        reconstruction_loss(estimate, face, KEYPOINTS, lr, settings, encoder)["loss"].backward()
        assert estimate.grad is not None
        assert estimate.grad.abs().sum() > 0, name


def test_the_texture_error_compares_the_same_share_of_the_face_at_every_size():
    face, other = (torch.nn.functional.interpolate(each, 64) for each in _pictures())
    shifted = lambda image, pixels: _texture_error(image, image.roll(pixels, -1))
    large = torch.nn.functional.interpolate(face, 512)
    assert float(_texture_error(face, face)) == 0
    assert float(shifted(large, 4)) < 0.5 * float(_texture_error(large, torch.nn.functional.interpolate(other, 512)))
    assert _slope(large).shape[-1] == _slope(torch.nn.functional.interpolate(face, 128)).shape[-1]

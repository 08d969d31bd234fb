"""The compact encoder behind the common interface, on a tiny network with random weights."""

from dataclasses import replace

import pytest
import torch

from idfsr_core.errors import ArgumentError, FileFormatError
from idfsr_core.geometry import arcface_template, transform_points
from idfsr_core.identity.aligning import align_faces
from idfsr_core.identity.compact import CompactEncoder
from idfsr_core.identity.embedding import similarity
from idfsr_core.identity.network import EncoderConfig, EncoderNetwork
from tests import tiny

CONFIG = replace(tiny.ENCODER, dim=16)


@pytest.fixture
def encoder() -> CompactEncoder:
    torch.manual_seed(1)
    return CompactEncoder(EncoderNetwork(CONFIG))


def _smooth(count: int, height: int, width: int) -> torch.Tensor:
    torch.manual_seed(2)
    coarse = torch.rand(count, 3, 9, 9)
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic", align_corners=True).clamp(0, 1)


def test_embeds_pictures_of_any_size_to_unit_vectors(encoder):
    for height, width, scale in ((20, 24, 0.15), (300, 200, 1.5)):
        points = (arcface_template() * scale).float().expand(2, 5, 2)
        found = encoder.embed(_smooth(2, height, width), points)
        assert found.vectors.shape == (2, encoder.dim)
        assert torch.allclose(found.vectors.norm(dim=1), torch.ones(2), atol=1e-5)
        assert ((found.quality > 0) & (found.quality < 1)).all()


def test_gradients_reach_picture_and_keypoints_but_no_weight(encoder):
    image = _smooth(1, 64, 64).requires_grad_(True)
    points = (arcface_template() * 0.5 + 3).float()[None].requires_grad_(True)
    found = encoder.embed(image, points)
    (found.vectors[:, 0].sum() + found.quality.sum()).backward()
    for value in (image, points):
        assert value.grad is not None
        assert value.grad.isfinite().all()
        assert value.grad.abs().sum() > 0
    assert all(value.grad is None for value in encoder.network.parameters())


def test_the_gradient_is_that_of_a_finite_difference(encoder):
    encoder.network.double()
    image = _smooth(1, 40, 40).double().requires_grad_(True)
    points = (arcface_template() * 0.33).double()[None]
    faces = align_faces(image, points)
    value = encoder.network(faces)[0][0, 0]
    (gradient,) = torch.autograd.grad(value, image)
    direction = torch.randn_like(image)
    step = 1e-6
    with torch.no_grad():
        ahead = encoder.network(align_faces(image + step * direction, points))[0][0, 0]
        behind = encoder.network(align_faces(image - step * direction, points))[0][0, 0]
    assert float((ahead - behind) / (2 * step)) == pytest.approx(float((gradient * direction).sum()), rel=1e-3)


def test_turning_and_shrinking_the_picture_hardly_matters(encoder):
    face = _smooth(1, 112, 112)
    points = arcface_template().float()[None]
    turned, moved = face.flip(3).transpose(2, 3), points.clone()  # a quarter turn
    moved[..., 0], moved[..., 1] = points[..., 1], 111 - points[..., 0]
    assert float(similarity(encoder.embed(face, points).vectors, encoder.embed(turned, moved).vectors)) > 0.999


def test_the_keypoints_land_on_the_template():
    image = torch.zeros(1, 3, 200, 200)
    points = (arcface_template() * 1.3 + 20).float()[None]
    for x, y in points[0].round().long().tolist():
        image[0, :, y - 2 : y + 3, x - 2 : x + 3] = 1
    face = align_faces(image, points)
    for x, y in arcface_template().round().long().tolist():
        assert face[0, 0, y, x] > 0.8
    assert face.mean() < 0.05


def test_one_set_of_points_serves_every_picture():
    images = _smooth(3, 112, 112)
    points = arcface_template().float()
    assert torch.equal(align_faces(images, points), align_faces(images, points.expand(3, 5, 2)))
    identity = torch.tensor([[[1.0, 0, 0], [0, 1, 0]]])
    assert torch.allclose(transform_points(identity, points[None])[0], points)
    assert torch.allclose(align_faces(images, points), images, atol=1e-4)


@pytest.mark.parametrize(
    ("image", "points"),
    [
        (torch.zeros(3, 40, 40), torch.rand(1, 5, 2)),
        (torch.zeros(1, 1, 40, 40), torch.rand(1, 5, 2)),
        (torch.zeros(1, 3, 40, 40, dtype=torch.uint8), torch.rand(1, 5, 2)),
        (torch.zeros(1, 3, 40, 40), torch.rand(1, 4, 2)),
        (torch.zeros(2, 3, 40, 40), torch.rand(1, 5, 2)),
        (torch.zeros(1, 3, 40, 40), torch.full((1, 5, 2), float("nan"))),
        (torch.zeros(1, 3, 40, 40), torch.full((1, 5, 2), 7.0)),
    ],
)
def test_input_that_does_not_fit_is_refused(encoder, image, points):
    with pytest.raises(ArgumentError):
        encoder.embed(image, points)


def test_state_gives_the_same_encoder_again(encoder):
    again = CompactEncoder.from_state(CONFIG.to_dict(), encoder.network.state_dict())
    points = arcface_template().float()[None]
    face = _smooth(1, 112, 112)
    assert again.hash == encoder.hash
    assert torch.equal(again.embed(face, points).vectors, encoder.embed(face, points).vectors)


def test_the_shipped_precision_has_the_same_hash_and_other_weights_another(encoder):
    state = encoder.network.state_dict()
    rounded = {name: v.bfloat16() if v.is_floating_point() else v for name, v in state.items()}
    assert CompactEncoder.from_state(CONFIG, rounded).hash == encoder.hash
    state["embedding.weight"][0, 0] += 1
    assert CompactEncoder.from_state(CONFIG, state).hash != encoder.hash


def test_weights_of_another_size_or_not_finite_are_refused(encoder):
    with pytest.raises(FileFormatError):
        CompactEncoder.from_state(EncoderConfig(), encoder.network.state_dict())
    state = encoder.network.state_dict()
    state["embedding.bias"][3] = float("nan")
    with pytest.raises(FileFormatError, match="finite"):
        CompactEncoder.from_state(CONFIG, state)

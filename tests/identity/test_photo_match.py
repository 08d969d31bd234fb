"""Which of a person's photos suits a small face."""

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from idfsr_core.errors import ArgumentError
from idfsr_core.geometry import ffhq_template
from idfsr_core.identity.compact import CompactEncoder
from idfsr_core.identity.network import EncoderNetwork
from idfsr_core.identity.photo_match import LARGEST_SIDE, SIDES, PhotoMatch, PhotoMatchConfig, look, suiting
from tests.tiny import ENCODER

CHANNELS = sum(ENCODER.outputs)


def match_of(alike: float = 1.0, worth: float = 0.0, channels: int = CHANNELS, encoder: str = "") -> PhotoMatch:
    match = PhotoMatch(PhotoMatchConfig(channels=channels, encoder=encoder)).requires_grad_(False)
    match.alike.fill_(alike)
    match.worth.fill_(worth)
    return match


@pytest.fixture(scope="module")
def encoder() -> Iterator[CompactEncoder]:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = EncoderNetwork(ENCODER).eval()
        yield CompactEncoder(network, match_of(encoder=CompactEncoder(network).hash))


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def enlarged(face: Tensor, side: int) -> Tensor:
    return F.interpolate(F.adaptive_avg_pool2d(face, side), size=face.shape[-2:], mode="bicubic").clamp(0, 1)


def test_the_encoders_features_are_the_means_of_its_segments(encoder: CompactEncoder) -> None:
    faces, points = draw(2, 3, 112, 112), ffhq_template(112).float().expand(2, -1, -1)
    found = encoder.features(faces, points)
    assert found.shape == (2, CHANNELS)
    one = encoder.features(faces[1:], points[1:])
    assert torch.allclose(found[1:], one, atol=1e-5)


def test_it_looks_at_a_photo_as_it_is_and_mirrored(encoder: CompactEncoder) -> None:
    face = draw(1, 3, 128, 128)
    points = ffhq_template(128).float()[None]
    looks = look(encoder, face)
    assert looks is not None
    assert looks.shape == (2, len(SIDES) + 1, CHANNELS)
    assert torch.allclose(looks[0, -1:], encoder.features(face, points), atol=1e-5)
    assert torch.allclose(looks[1, -1:], encoder.features(face.flip(-1), points), atol=1e-5)
    small = enlarged(face, SIDES[1])
    assert torch.allclose(looks[0, 1:2], encoder.features(small, points), atol=1e-5)


def test_the_photo_that_is_the_picture_suits_best(encoder: CompactEncoder) -> None:
    photos = draw(3, 3, 128, 128, seed=8).pow(torch.tensor([0.5, 1.0, 3.0])[:, None, None, None])
    looks = [found[0] for photo in photos if (found := look(encoder, photo[None])) is not None]
    assert len(looks) == 3
    for place in (0, 2):  # the one between the two differs least from the mean
        found = suiting(enlarged(photos[place : place + 1], 16), 16, looks, encoder)
        assert max(range(3), key=found.__getitem__) == place


def test_what_a_photo_is_worth_does_not_hang_on_the_face() -> None:
    match, small, sharp = match_of(0, 1), draw(4, CHANNELS), draw(4, CHANNELS, seed=1)
    first, second = (match(draw(CHANNELS, seed=seed), small, sharp) for seed in (2, 3))
    assert torch.equal(first, second)
    assert first.argmax() == sharp.sum(1).argmax()


@given(count=st.integers(1, 8), batch=st.integers(1, 3), seed=st.integers(0, 99))
def test_scores_are_relative(count: int, batch: int, seed: int) -> None:
    match = match_of(0.3, -0.2, 5)
    face, small, sharp = (draw(batch, *shape, 5, seed=seed + k) for k, shape in enumerate(((), (count,), (count,))))
    found = match(face, small, sharp)
    assert found.shape == (batch, count)
    assert torch.allclose(found.mean(-1), torch.zeros(batch), atol=1e-5)
    moved = match(face + 3, small + 3, sharp + 7)  # what all photos share is the person
    assert torch.allclose(found, moved, atol=1e-4)


def test_without_a_match_or_a_look_nothing_is_told(encoder: CompactEncoder) -> None:
    face = draw(1, 3, 128, 128)
    plain = CompactEncoder(EncoderNetwork(ENCODER).eval())
    seen = look(encoder, face)
    assert seen is not None
    assert look(plain, face) is None
    assert suiting(face, 16, [seen[0], seen[1]], plain) == [0, 0]
    assert suiting(face, 16, [seen[0], None], encoder) == [0, 0]
    assert suiting(face, LARGEST_SIDE + 1, [seen[0], seen[1]], encoder) == [0, 0]
    assert suiting(face, LARGEST_SIDE, [seen[0], seen[1]], encoder) != [0, 0]


def test_no_features_are_refused() -> None:
    with pytest.raises(ArgumentError, match="channels"):
        PhotoMatchConfig(channels=0, encoder="")


def test_a_match_of_another_encoder_is_left_out() -> None:
    assert CompactEncoder(EncoderNetwork(ENCODER).eval(), match_of(encoder="another")).match is None

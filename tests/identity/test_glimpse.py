"""What a small picture says itself of the face on it."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from idfsr_core.errors import ArgumentError
from idfsr_core.geometry import ffhq_template
from idfsr_core.identity.compact import CompactEncoder
from idfsr_core.identity.embedding import IdentityEmbedding
from idfsr_core.identity.encoders import Embedded
from idfsr_core.identity.glimpse import SIDES, UNREADABLE, SmallViews, glimpsed, seen_alike, trust, view_small
from idfsr_core.identity.network import EncoderNetwork
from tests.tiny import ENCODER

DIM = ENCODER.dim


@pytest.fixture(scope="module")
def encoder() -> CompactEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return CompactEncoder(EncoderNetwork(ENCODER).eval())


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def person(views: Tensor | None = None, length: float = 1.0) -> IdentityEmbedding:
    vector = length * F.normalize(draw(DIM, seed=1) - 0.5, dim=0)
    small = None if views is None else SmallViews(sides=SIDES, vectors=views)
    return IdentityEmbedding(vector=vector, encoder="e", encoder_hash="h", photos=3, kind="fitted", small=small)


def enlarged(face: Tensor, side: int) -> Tensor:
    return F.interpolate(F.adaptive_avg_pool2d(face, side), size=face.shape[-2:], mode="bicubic").clamp(0, 1)


def test_a_face_counts_by_how_much_better_than_unreadable_it_is() -> None:
    qualities = torch.tensor([0.0, UNREADABLE, 0.5, 1.0])
    assert trust(qualities).tolist() == pytest.approx([0, 0, 0.3, 0.8])


def test_views_are_what_the_encoder_says_of_the_face_made_small(encoder: CompactEncoder) -> None:
    face = draw(1, 3, 128, 128)
    views = view_small(encoder, face)
    points = ffhq_template(128).float()[None]
    for side, view in zip(SIDES, views, strict=True):
        expected = encoder.embed(enlarged(face, side), points).vectors[0]
        assert torch.allclose(view, expected, atol=1e-5), side


def test_a_picture_that_shows_what_the_photos_show_says_nothing_new(encoder: CompactEncoder) -> None:
    face = draw(1, 3, 128, 128)
    known = person(view_small(encoder, face))
    for side in SIDES:
        assert torch.allclose(glimpsed(known, enlarged(face, side), side, encoder, 0.5)[0], known.vector, atol=1e-4)


def test_a_picture_moves_the_vector_by_its_difference_from_the_photos(encoder: CompactEncoder) -> None:
    photo, faces = draw(1, 3, 128, 128), enlarged(draw(2, 3, 128, 128, seed=5), 16)
    known = person(view_small(encoder, photo), length=1.7)
    points = ffhq_template(128).float().expand(2, -1, -1)
    seen = encoder.embed(faces, points)
    assert bool((seen.quality > UNREADABLE).all())
    apart = seen.vectors - view_small(encoder, photo)[SIDES.index(16)]
    expected = 1.7 * F.normalize(known.direction + 0.7 * trust(seen.quality)[:, None] * apart, dim=1)
    assert torch.allclose(glimpsed(known, faces, 16, encoder, 0.7), expected, atol=1e-5)
    assert not torch.allclose(expected, known.vector.expand(2, -1), atol=1e-3)


def test_the_photo_that_is_the_picture_made_small_is_most_alike(encoder: CompactEncoder) -> None:
    photos = draw(3, 3, 128, 128, seed=8).pow(torch.tensor([0.5, 1.0, 3.0])[:, None, None, None])
    views = [view_small(encoder, photo[None]) for photo in photos]
    for place, photo in enumerate(photos):
        alike = seen_alike(enlarged(photo[None], 16), 16, views, encoder)
        assert max(range(3), key=alike.__getitem__) == place
        assert alike[place] == pytest.approx(1, abs=1e-4)


def test_a_face_larger_than_any_small_view_is_like_no_photo(encoder: CompactEncoder) -> None:
    face = draw(1, 3, 128, 128)
    views = [view_small(encoder, face)]
    assert seen_alike(face, SIDES[-1] + 1, views, encoder) == [0]
    assert seen_alike(face, SIDES[-1], views, encoder) != [0]


def test_a_face_that_cannot_be_read_is_like_no_photo(encoder: CompactEncoder) -> None:
    face = draw(1, 3, 128, 128)
    assert seen_alike(face, 8, [view_small(encoder, face)], Doubting()) == [0]


def test_photos_of_which_one_was_not_looked_at_small_are_all_alike(encoder: CompactEncoder) -> None:
    face = draw(1, 3, 128, 128)
    assert seen_alike(face, 16, [view_small(encoder, face), None], encoder) == [0, 0]


class Doubting:
    """An encoder that can read nothing."""

    name, hash, dim = "doubting", "0", DIM

    def embed(self, image: Tensor, keypoints: Tensor) -> Embedded:
        return Embedded(vectors=draw(len(image), DIM), quality=torch.full((len(image),), UNREADABLE))


def test_without_views_encoder_share_or_anything_to_read_the_vector_is_the_person_s(encoder: CompactEncoder) -> None:
    faces, known = draw(2, 3, 128, 128), person(draw(len(SIDES), DIM))
    for found in (
        glimpsed(replace(known, small=None), faces, 16, encoder, 0.35),
        glimpsed(known, faces, 16, None, 0.35),
        glimpsed(known, faces, 16, encoder, 0.0),
        glimpsed(known, faces, 8, Doubting(), 1.0),
    ):
        assert torch.allclose(found, known.vector.expand(2, -1), atol=1e-6)


@given(st.floats(0.5, 300))
def test_between_two_sides_a_view_lies_between_their_vectors(side: float) -> None:
    views = SmallViews(sides=SIDES, vectors=torch.arange(len(SIDES)).float()[:, None])
    found = views.at(side).item()
    below = sum(each <= side for each in SIDES) - 1
    assert max(below, 0) - 1e-5 <= found <= min(below + 1, len(SIDES) - 1) + 1e-5
    assert views.at(SIDES[2]).item() == 2


@pytest.mark.parametrize(
    ("sides", "shape"), [((12, 16), (3, 4)), ((16, 12), (2, 4)), ((), (0, 4)), ((0, 8), (2, 4)), ((8, 12), (2,))]
)
def test_views_that_make_no_sense_are_refused(sides: tuple[int, ...], shape: tuple[int, ...]) -> None:
    with pytest.raises(ArgumentError, match="small views"):
        SmallViews(sides=sides, vectors=torch.zeros(shape))

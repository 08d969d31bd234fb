"""Pooling: weights, strangers, and photos that do not belong together. Vectors are drawn around made-up people."""

from typing import NamedTuple

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from idfsr_core.errors import ArgumentError, DifferentPeopleError
from idfsr_core.identity.pooling import PoolingSettings, pool


class _Encoder(NamedTuple):
    name: str
    hash: str


ENCODER = _Encoder("compact", "0123")
DIM = 128


def _person(seed: int, photos: int, spread: float = 0.6) -> torch.Tensor:
    """Photos [N, D] whose cosines with each other are about 1 / (1 + spread^2)."""
    generator = torch.Generator().manual_seed(seed)
    centre = torch.nn.functional.normalize(torch.randn(DIM, generator=generator), dim=0)
    noise = torch.nn.functional.normalize(torch.randn(photos, DIM, generator=generator), dim=1)
    return torch.nn.functional.normalize(centre + spread * noise, dim=1)


def _even(vectors: torch.Tensor) -> torch.Tensor:
    return torch.full((len(vectors),), 0.8)


def test_one_photo_is_its_own_identity():
    vectors = _person(0, 1)
    pooled = pool(vectors, torch.tensor([0.0]), ENCODER)
    assert torch.allclose(pooled.identity.vector, vectors[0])
    assert (pooled.identity.kind, pooled.identity.photos) == ("single", 1)
    assert pooled.report.photos[0].weight == 1
    assert pooled.report.photos[0].agreement == 1


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), photos=st.integers(1, 12), data=st.data())
def test_weights_add_up_and_the_result_is_a_unit_vector(seed, photos, data):
    quality = torch.tensor(data.draw(st.lists(st.floats(0, 1, width=32), min_size=photos, max_size=photos)))
    pooled = pool(_person(seed, photos), quality, ENCODER)
    weights = [photo.weight for photo in pooled.report.photos]
    assert sum(weights) == pytest.approx(1, abs=1e-5)
    assert min(weights) > 0
    assert float(pooled.identity.vector.norm()) == pytest.approx(1, abs=1e-5)
    assert pooled.report.similarity.shape == (photos, photos)
    assert (pooled.identity.encoder, pooled.identity.encoder_hash) == ("compact", "0123")


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), photos=st.integers(2, 9), order=st.randoms(use_true_random=False))
def test_the_order_of_the_photos_does_not_matter(seed, photos, order):
    vectors, quality = _person(seed, photos), torch.rand(photos, generator=torch.Generator().manual_seed(seed))
    places = list(range(photos))
    order.shuffle(places)
    first, second = pool(vectors, quality, ENCODER), pool(vectors[places], quality[places], ENCODER)
    assert torch.allclose(first.identity.vector, second.identity.vector, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**5), photos=st.integers(2, 8), place=st.integers(0, 8))
def test_a_stranger_is_dropped_and_named(seed, photos, place):
    place = min(place, photos)
    own, stranger = _person(2 * seed, photos), _person(2 * seed + 1, 1)
    assume(float((own @ stranger.T).max()) < 0.2)  # by chance two people look alike
    assume(float(own.sum(0) @ stranger[0] / own.sum(0).norm()) < 0.2)
    vectors = torch.cat((own[:place], stranger, own[place:]))
    names = [f"{i}.jpg" for i in range(photos + 1)]
    pooled = pool(vectors, _even(vectors), ENCODER, names=names)
    assert pooled.report.dropped == (place,)
    assert pooled.identity.photos == photos
    (note,) = pooled.report.notes()
    assert f"{place}.jpg" in note
    without = pool(own, _even(own), ENCODER)
    assert torch.allclose(pooled.identity.vector, without.identity.vector, atol=1e-5)


@pytest.mark.parametrize("sizes", [(2, 2), (1, 1, 1), (3, 3), (2, 2, 1), (3, 2, 1)])
def test_photos_without_a_majority_are_refused_with_their_similarities(sizes):
    vectors = torch.cat([_person(100 + i, size) for i, size in enumerate(sizes)])
    with pytest.raises(DifferentPeopleError) as caught:
        pool(vectors, _even(vectors), ENCODER)
    assert f"photo {len(vectors)}" in str(caught.value)
    assert f"{float(vectors[0] @ vectors[1]):.2f}" in str(caught.value)


def test_the_majority_wins_over_a_second_person():
    vectors = torch.cat((_person(7, 4), _person(8, 3)))
    assert pool(vectors, _even(vectors), ENCODER).report.kept == (0, 1, 2, 3)


def test_two_photos_are_given_the_benefit_of_the_doubt():
    first = torch.nn.functional.one_hot(torch.tensor(0), DIM).float()
    alike = torch.nn.functional.normalize(first * 0.12 + torch.nn.functional.one_hot(torch.tensor(1), DIM), dim=0)
    unlike = torch.nn.functional.one_hot(torch.tensor(2), DIM).float()
    assert pool(torch.stack((first, alike)), torch.ones(2), ENCODER).identity.photos == 2
    with pytest.raises(DifferentPeopleError):
        pool(torch.stack((first, unlike)), torch.ones(2), ENCODER)
    assert pool(torch.stack((first, first, alike)), torch.ones(3), ENCODER).report.dropped == (2,)


def test_the_check_can_be_switched_off():
    vectors = torch.cat((_person(7, 1), _person(8, 1)))
    assert pool(vectors, _even(vectors), ENCODER, settings=PoolingSettings(check=False)).identity.photos == 2


def test_better_photos_count_more_by_their_quality():
    vectors = _person(3, 3)
    report = pool(vectors, torch.tensor([0.9, 0.3, 0.3]), ENCODER).report
    assert report.photos[0].weight == pytest.approx(0.6)
    flat = pool(vectors, torch.tensor([0.9, 0.3, 0.3]), ENCODER, settings=PoolingSettings(sharpen=0)).report
    assert [photo.weight for photo in flat.photos] == pytest.approx([1 / 3] * 3)


def test_weighting_by_quality_comes_nearer_to_the_person():
    generator = torch.Generator().manual_seed(5)
    centre = torch.nn.functional.normalize(torch.randn(DIM, generator=generator), dim=0)
    spread = torch.tensor([0.4, 0.4, 2.5, 2.5])
    noise = torch.nn.functional.normalize(torch.randn(4, DIM, generator=generator), dim=1)
    vectors = torch.nn.functional.normalize(centre + spread[:, None] * noise, dim=1)
    weighted = pool(vectors, vectors @ centre, ENCODER).identity.vector @ centre
    even = pool(vectors, _even(vectors), ENCODER).identity.vector @ centre
    assert weighted > even + 0.01


def test_a_photo_of_no_quality_keeps_a_little_weight():
    report = pool(_person(3, 2), torch.tensor([1.0, 0.0]), ENCODER).report
    assert 0 < report.photos[1].weight < 0.05


@pytest.mark.parametrize(
    ("vectors", "quality", "names"),
    [
        (torch.zeros(0, 8), torch.zeros(0), None),
        (torch.ones(2, 8), torch.ones(3), None),
        (torch.ones(8), torch.ones(8), None),
        (torch.full((2, 8), float("nan")), torch.ones(2), None),
        (torch.zeros(2, 8), torch.ones(2), None),
        (torch.ones(2, 8), torch.tensor([1.0, float("nan")]), None),
        (torch.ones(2, 8), torch.ones(2), ["only one"]),
    ],
)
def test_input_that_does_not_fit_is_refused(vectors, quality, names):
    with pytest.raises(ArgumentError):
        pool(vectors, quality, ENCODER, names=names)


@pytest.mark.parametrize("values", [{"stranger": 2}, {"sharpen": -1}, {"floor": 0}])
def test_impossible_settings_are_refused(values):
    with pytest.raises(ArgumentError):
        PoolingSettings(**values)

"""Learning which of a person's photos is nearest to a small face."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from idfsr_core.errors import ArgumentError
from idfsr_core.identity.compact import CompactEncoder
from idfsr_core.identity.network import EncoderNetwork
from idfsr_core.identity.photo_match import SIDES
from idfsr_core.pretraining.data import FaceLibrary
from idfsr_core.pretraining.photo_match import (
    Looks,
    MatchSettings,
    PhotoLooks,
    PhotoSets,
    chosen,
    collect_looks,
    draw_sets,
    train_match,
)
from tests.pretraining.library import drawn_library
from tests.tiny import ENCODER

CHANNELS = 6


@pytest.fixture(scope="module")
def encoder() -> CompactEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return CompactEncoder(EncoderNetwork(ENCODER).eval())


@pytest.fixture(scope="module")
def library() -> FaceLibrary:
    return drawn_library(people=3, photos=4, lone=2)


@pytest.fixture(scope="module")
def looks(library: FaceLibrary, encoder: CompactEncoder) -> PhotoLooks:
    return collect_looks(library, encoder, seed=1)


def test_only_people_with_a_choice_are_looked_at(looks: PhotoLooks, library: FaceLibrary) -> None:
    assert sorted(looks.used) == list(range(12))
    assert set(looks.small) == set(SIDES)
    for each in (looks.sharp, *looks.small.values(), *looks.found.values()):
        assert each.features.shape == (12, sum(ENCODER.outputs))
        assert torch.allclose(each.vectors.norm(dim=1), torch.ones(12), atol=1e-5)
    again = looks.found[SIDES[0], "area"].features
    assert not torch.allclose(again, looks.small[SIDES[0]].features, atol=1e-4)  # off, as found faces are


def test_photos_of_people_with_two_are_refused(encoder: CompactEncoder) -> None:
    with pytest.raises(ArgumentError, match="no person with 3"):
        collect_looks(drawn_library(people=2, photos=2), encoder, seed=0)


def test_sets_hold_one_person_each_and_never_the_face_itself(looks: PhotoLooks, library: FaceLibrary) -> None:
    assert library.embeddings is not None
    sets = draw_sets(library, library.embeddings, looks, seed=0)
    people = library.identities[looks.used]
    for target, others, counts in zip(sets.target, sets.others, sets.counts, strict=True):
        real = others[counts > 0].tolist()
        assert 2 <= len(real) <= 3
        assert len(set(real)) == len(real)
        assert int(target) not in real
        assert set(people[real]) == {people[int(target)]}
    own, other = (torch.from_numpy(library.embeddings[looks.used[x]]) for x in (sets.target, sets.others[:, 0]))
    assert torch.allclose(sets.truth[:, 0], (own * other).sum(1), atol=1e-5)


def test_a_library_without_landmarks_is_refused(looks: PhotoLooks, library: FaceLibrary) -> None:
    with pytest.raises(ArgumentError, match="no landmarks"):
        draw_sets(replace(library, landmarks=None), np.zeros((14, 4)), looks, seed=0)


def made_up(count: int = 400) -> tuple[PhotoSets, PhotoLooks]:
    """Faces of which the first feature tells what they share with a photo, and the second what the photo is worth."""
    draw = torch.Generator().manual_seed(0)
    features = torch.randn(count, CHANNELS, generator=draw)
    told = Looks(
        features=features, vectors=torch.eye(3)[torch.zeros(count, dtype=torch.long)], quality=torch.zeros(count)
    )
    looks = PhotoLooks(
        encoder="made up",
        used=np.arange(count),
        sharp=told,
        small=dict.fromkeys(SIDES, told),
        found={(side, kind): told for side in SIDES for kind in ("area", "blind")},
    )
    target = torch.arange(count)
    others = torch.stack([torch.randperm(count, generator=draw)[:4] for _ in range(count)])
    middle = features[others].mean(1, keepdim=True)[..., 0]
    shared = (features[target, :1] - middle) * (features[others][..., 0] - middle)
    truth = 0.1 * shared + 0.1 * features[others][..., 1]
    counts = torch.ones(count, 4)
    counts[::2, 3] = 0
    return PhotoSets(target=target, others=others, counts=counts, known=torch.zeros(count, 4), truth=truth), looks


def test_it_learns_what_tells_the_photos_apart() -> None:
    sets, looks = made_up()
    match = train_match(sets, looks, MatchSettings(steps=300, batch=64, rate=2e-2, decay=0.0, drop=0.0))
    alike, worth = match.alike[0].abs(), match.worth[0].abs()
    assert alike.argmax() == 0
    assert worth.argmax() == 1
    best = sets.truth.masked_fill(sets.counts == 0, -9).max(1).values.mean()
    before, after = (chosen(sets, looks, each, 16).mean() for each in (None, match))
    assert after > before + 0.8 * (best - before)


def test_a_training_is_the_same_again() -> None:
    sets, looks = made_up(60)
    first, second = (train_match(sets, looks, MatchSettings(steps=5, batch=8, seed=4)) for _ in range(2))
    assert torch.equal(first.alike, second.alike)
    assert torch.equal(first.worth, second.worth)


def test_no_steps_are_refused() -> None:
    with pytest.raises(ArgumentError, match="steps"):
        MatchSettings(steps=0)

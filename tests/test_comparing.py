"""Comparing pictures and identities with a person."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from idfsr_core.comparing import FACES_KEPT, Comparison, compare_identities, compare_pictures
from idfsr_core.errors import EncoderMismatchError, FaceNotFoundError
from idfsr_core.identity.compact import CompactEncoder
from idfsr_core.identity.embedding import IdentityEmbedding
from idfsr_core.identity.encoders import Embedded
from idfsr_core.references import prepare_references
from idfsr_core.reports import report_comparison
from tests import tiny
from tests.tiny import StubAnalyzer, portrait

ONE = StubAnalyzer((0.5, 0.5, 0.4))


@pytest.fixture(scope="module")
def encoder() -> CompactEncoder:
    parts: dict = {**tiny.networks()}
    return CompactEncoder(parts["encoder"])


@pytest.fixture(scope="module")
def person(encoder: CompactEncoder) -> IdentityEmbedding:
    return prepare_references(ONE, encoder, [("a", portrait(seed=1))]).identity


class Sometimes(StubAnalyzer):
    """Sees no face in pictures narrower than 160 pixels."""

    def analyze(self, image: torch.Tensor, threshold: float | None = None):
        return super().analyze(image) if image.shape[-1] >= 160 else []


class Colours:
    """An encoder to which people are their mean colour: random weights hardly tell pictures apart."""

    name, hash, dim = "colours", "0", 3

    def embed(self, image: torch.Tensor, keypoints: torch.Tensor) -> Embedded:
        mean = image.mean((2, 3)) - 0.5
        return Embedded(vectors=torch.nn.functional.normalize(mean, dim=1), quality=torch.ones(len(image)))


def test_the_same_photo_is_one_and_others_are_less() -> None:
    red, green = (torch.tensor(colour).view(1, 3, 1, 1).expand(1, 3, 160, 160) for colour in ([1.0, 0, 0], [0, 1.0, 0]))
    person = prepare_references(ONE, Colours(), [("a", red)]).identity
    found = compare_pictures(ONE, Colours(), person, [("same", red), ("other", green)])
    assert found.similarities == pytest.approx((1, -1 / 3), abs=1e-5)
    assert found.mean == pytest.approx(1 / 3, abs=1e-5)
    assert [face.shape for face in found.faces if face is not None] == [(1, 3, 128, 128)] * 2


def test_pictures_without_a_face_are_named_and_do_not_count(encoder: CompactEncoder, person: IdentityEmbedding) -> None:
    pictures = [("same", portrait(seed=1)), ("landscape", portrait(100))]
    found = compare_pictures(Sometimes(*ONE.places), encoder, person, pictures)
    assert found.names == ("same",)
    assert found.notes == ("landscape: no face found",)
    assert "landscape" in report_comparison(found)
    with pytest.raises(FaceNotFoundError, match="no face"):
        compare_pictures(StubAnalyzer(), encoder, person, pictures)


def test_the_faces_of_a_long_film_are_not_all_kept(encoder: CompactEncoder, person: IdentityEmbedding) -> None:
    found = compare_pictures(ONE, encoder, person, ((f"{i}", portrait(64)) for i in range(FACES_KEPT + 2)))
    assert [face is None for face in found.faces] == [False] * FACES_KEPT + [True] * 2


def test_another_encoder_is_refused_with_both_names(encoder: CompactEncoder, person: IdentityEmbedding) -> None:
    other = replace(person, encoder="buffalo_l")
    with pytest.raises(EncoderMismatchError, match=r"buffalo_l.*compact.*connect the other one"):
        compare_pictures(ONE, encoder, other, [("a", portrait())], remedy="connect the other one")
    with pytest.raises(EncoderMismatchError, match=r"compact.*buffalo_l"):
        compare_identities(person, other)


def test_identities_compare_by_their_angle(person: IdentityEmbedding) -> None:
    longer = replace(person, vector=person.vector * 3, kind="fitted")
    assert compare_identities(person, longer).mean == pytest.approx(1, abs=1e-5)
    against = replace(person, vector=-person.vector)
    assert compare_identities(person, against).mean == pytest.approx(-1, abs=1e-5)


def test_checking_may_stop_it(encoder: CompactEncoder, person: IdentityEmbedding) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare_pictures(ONE, encoder, person, [("a", portrait())], stop)


def test_the_report_begins_with_the_mean_of_several() -> None:
    several = Comparison(names=("a", "b"), similarities=(0.2, 0.6), faces=(None, None))
    assert report_comparison(several).splitlines() == [
        "mean 0.400, from 0.200 to 0.600, of 2 pictures",
        "a: 0.200",
        "b: 0.600",
    ]
    assert report_comparison(replace(several, names=("a",), similarities=(0.2,), faces=(None,))) == "a: 0.200"

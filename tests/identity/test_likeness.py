"""Likeness of faces to a person, and the choice among photos that goes by it."""

from dataclasses import replace

import pytest
import torch

from idfsr_core.errors import EncoderMismatchError
from idfsr_core.identity.compact import CompactEncoder
from idfsr_core.identity.embedding import IdentityEmbedding
from idfsr_core.identity.encoders import Embedded
from idfsr_core.identity.glimpse import SIDES
from idfsr_core.identity.likeness import Likeness
from idfsr_core.identity.network import EncoderNetwork
from idfsr_core.identity.photo_match import SIDES as SIDES_LOOKED_AT
from idfsr_core.identity.photo_match import PhotoMatch, PhotoMatchConfig
from idfsr_core.options import RestoreOptions
from idfsr_core.references import Reference
from idfsr_core.steps import warp_references
from idfsr_core.warping import choose_reference
from tests import tiny


class _Brightness:
    """An encoder that looks at the mean colour alone."""

    name, hash, dim = "brightness", "1", 3

    def embed(self, image: torch.Tensor, keypoints: torch.Tensor) -> Embedded:
        vectors = torch.nn.functional.normalize(image.mean((2, 3)), dim=1)
        return Embedded(vectors=vectors, quality=torch.ones(len(image)))


def _person(*vector: float, encoder: str = "brightness") -> IdentityEmbedding:
    unit = torch.nn.functional.normalize(torch.tensor(vector).float(), dim=0)
    return IdentityEmbedding(vector=unit, encoder=encoder, encoder_hash="1", photos=2, kind="pooled")


def _face() -> torch.Tensor:
    return torch.rand(68, 2, generator=torch.Generator().manual_seed(3)) * 60 + 66


def _photo(name: str, colour: tuple[float, float, float], bend: float) -> Reference:
    pattern = torch.rand(1, 1, 192, 192, generator=torch.Generator().manual_seed(1))
    landmarks = _face() + bend * torch.randn(68, 2, generator=torch.Generator().manual_seed(2))
    crop = pattern * torch.tensor(colour).view(1, 3, 1, 1)
    return Reference(name=name, crop=crop, landmarks=landmarks, embedding=torch.ones(3) / 3**0.5, quality=1.0)


def test_a_face_of_the_persons_colour_is_like_the_person():
    likeness = Likeness(identity=_person(1, 0, 0), encoder=_Brightness())
    red, grey = torch.zeros(1, 3, 8, 8), torch.full((1, 3, 8, 8), 0.5)
    red[:, 0] = 1
    values = likeness.of(torch.cat((red, grey)), torch.zeros(2, 5, 2))
    assert values == pytest.approx([1, 3**-0.5], abs=1e-5)


def test_a_person_of_another_encoder_is_refused():
    with pytest.raises(EncoderMismatchError, match="other"):
        Likeness(identity=_person(1, 0, 0, encoder="other"), encoder=_Brightness())


@pytest.mark.parametrize(("weight", "first"), [(0.0, "near"), (10.0, "far")])
def test_likeness_outweighs_pose_when_told_so(weight: float, first: str):
    # The LR face is black; clamping leaves the brighter half of the photo's detail, which has the photo's hue.
    photos = [_photo("near", (0.1, 0.1, 1), 0.5), _photo("far", (1, 0.1, 0.1), 2.0)]
    lr, mask = torch.zeros(1, 3, 4, 4), torch.ones(1, 1, 128, 128)
    landmarks = (_face() - 32)[None]
    likeness = Likeness(identity=_person(1, 0, 0), encoder=_Brightness())
    warped = warp_references(photos, landmarks, lr, mask, RestoreOptions(likeness=weight, max_references=2), likeness)
    assert warped.names[0] == first
    assert set(warped.names) == {"near", "far"}
    assert ("alike" in warped.reasons[0]) == (weight > 0)


@pytest.mark.parametrize(("glimpse", "first"), [(0.0, "near"), (2.0, "far")])
def test_the_photo_that_looks_like_the_small_face_is_chosen_when_told_so(glimpse: float, first: str):
    # The small face is red, as the far photo is when it is made small; to the person both are alike.
    views = {"near": (0.1, 0.1, 1.0), "far": (1.0, 0.1, 0.1)}
    photos = [
        replace(_photo(name, (1, 1, 1), bend), small=torch.tensor([views[name]] * len(SIDES)))
        for name, bend in (("near", 0.5), ("far", 2.0))
    ]
    lr = torch.tensor([1, 0.1, 0.1]).view(1, 3, 1, 1).expand(-1, -1, 4, 4)
    landmarks = (_face() - 32)[None]
    likeness = Likeness(identity=_person(1, 1, 1), encoder=_Brightness())
    options = RestoreOptions(likeness=0.01, glimpse=glimpse)
    warped = warp_references(photos, landmarks, lr, torch.ones(1, 1, 128, 128), options, likeness)
    assert warped.names == (first,)
    assert ("as small" in warped.reasons[0]) == (glimpse > 0)


@pytest.mark.parametrize(("glimpse", "worth", "first"), [(0.0, 9.0, "near"), (1.0, 0.0, "near"), (1.0, 9.0, "far")])
def test_the_photo_that_is_worth_most_to_the_encoder_is_chosen_when_told_so(glimpse: float, worth: float, first: str):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = EncoderNetwork(tiny.ENCODER).eval()
    plain = CompactEncoder(network)
    match = PhotoMatch(PhotoMatchConfig(channels=sum(tiny.ENCODER.outputs), encoder=plain.hash)).requires_grad_(False)
    match.worth[0, 0] = worth
    encoder = CompactEncoder(network, match)
    looks = torch.zeros(2, len(SIDES_LOOKED_AT) + 1, sum(tiny.ENCODER.outputs))
    better = looks.clone()
    better[0, -1, 0] = 1  # the first feature of the sharp photo, not of its mirror image
    photos = [
        replace(_photo("near", (1, 1, 1), 0.5), looks=looks),
        replace(_photo("far", (1, 1, 1), 2.0), looks=better),
    ]
    person = IdentityEmbedding(
        vector=torch.nn.functional.normalize(torch.ones(plain.dim), dim=0),
        encoder=plain.name, encoder_hash=plain.hash, photos=2, kind="pooled",
    )  # fmt: skip
    options = RestoreOptions(likeness=0.01, glimpse=glimpse)
    landmarks, lr = (_face() - 32)[None], torch.full((1, 3, 4, 4), 0.4)
    likeness = Likeness(identity=person, encoder=encoder)
    warped = warp_references(photos, landmarks, lr, torch.ones(1, 1, 128, 128), options, likeness)
    assert warped.names == (first,)
    assert ("suits" in warped.reasons[0]) == bool(glimpse and worth)


def test_without_a_likeness_pose_decides():
    photos = [_photo("far", (1, 0.1, 0.1), 2.0), _photo("near", (0.1, 0.1, 1), 0.5)]
    landmarks = (_face() - 32)[None]
    order = choose_reference(landmarks[0], torch.stack([photo.landmarks for photo in photos])).order
    lr, mask = torch.zeros(1, 3, 4, 4), torch.ones(1, 1, 128, 128)
    warped = warp_references(photos, landmarks, lr, mask, RestoreOptions(max_references=2))
    assert warped.names == tuple(photos[place].name for place in order)

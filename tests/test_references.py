"""Reference photos: prepared once, the useless ones left out and named."""

import numpy as np
import pytest
import torch

from idfsr_core.bundle import Bundle, load_bundle
from idfsr_core.errors import ArgumentError, DifferentPeopleError, FaceNotFoundError
from idfsr_core.references import CROP_SIZE, crop_side, inner_crop, prepare_references, wide_alignment
from idfsr_core.steps import align
from tests import tiny
from tests.tiny import StubAnalyzer, portrait, stub_face

ONE = StubAnalyzer((0.5, 0.5, 0.4))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Random tiny networks."""
    return load_bundle(tiny.write_bundle(tmp_path_factory.mktemp("bundle") / "tiny.safetensors"))


def test_photos_without_a_face_are_left_out_and_named(bundle: Bundle) -> None:
    class Sometimes(StubAnalyzer):
        def analyze(self, image: torch.Tensor, threshold: float | None = None):
            return super().analyze(image) if image.shape[-1] == 160 else []

    photos = [("good.png", portrait()), ("landscape.png", portrait(100))]
    prepared = prepare_references(Sometimes((0.5, 0.5, 0.4)), bundle.encoder, photos)
    assert prepared.names == ("good.png",)
    assert any("landscape.png" in note for note in prepared.notes)
    with pytest.raises(FaceNotFoundError, match=r"landscape\.png"):
        prepare_references(StubAnalyzer(), bundle.encoder, photos)
    with pytest.raises(FaceNotFoundError, match="no photos given"):
        prepare_references(ONE, bundle.encoder, [])


def test_the_largest_face_of_a_reference_counts(bundle: Bundle) -> None:
    two = StubAnalyzer((0.2, 0.2, 0.1), (0.5, 0.5, 0.4))
    both, one = (prepare_references(a, bundle.encoder, [("a", portrait())]).photos[0] for a in (two, ONE))
    assert torch.equal(both.crop, one.crop)
    assert torch.equal(both.embedding, one.embedding)


def embeddings(*rows: torch.Tensor):
    """Stands for the encoder: one given embedding after the other."""
    vectors = iter(rows)
    return lambda *_: (next(vectors), 1.0)


def test_a_stranger_among_the_photos_goes_and_is_named(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    unit = torch.eye(32)
    monkeypatch.setattr("idfsr_core.references.embed_face", embeddings(unit[0], unit[0], unit[1], unit[0]))
    prepared = prepare_references(ONE, bundle.encoder, [(f"{name}.png", portrait()) for name in "abcd"])
    assert prepared.names == ("a.png", "b.png", "d.png")
    assert len(prepared.notes) == 1
    assert "c.png left out" in prepared.notes[0]
    assert prepared.identity.photos == 3
    assert torch.allclose(prepared.identity.vector, unit[0])


def test_photos_of_different_people_are_refused(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("idfsr_core.references.embed_face", embeddings(*torch.eye(32)[:2]))
    with pytest.raises(DifferentPeopleError, match=r"a\.png"):
        prepare_references(ONE, bundle.encoder, [("a.png", portrait()), ("b.png", portrait())])


def test_reference_crops_hold_the_template_in_their_middle() -> None:
    face = stub_face(100, 100, 40, (200, 200))
    points = wide_alignment(face).to_crop(face.keypoints)
    assert np.allclose(points - (CROP_SIZE - 128) / 2, align(face).to_crop(face.keypoints), atol=1e-4)


def test_a_larger_model_gets_larger_crops_of_the_same_field(bundle: Bundle) -> None:
    small, large = (
        prepare_references(ONE, bundle.encoder, [("a", portrait(900))], size=size).photos[0] for size in (128, 256)
    )
    assert (large.size, large.margin, large.crop.shape[-1]) == (256, 64, crop_side(256))
    assert inner_crop(large).shape[-1] == 256
    assert torch.allclose(large.landmarks + 0.5, (small.landmarks + 0.5) * 2, atol=1e-3)
    assert torch.allclose(torch.nn.functional.avg_pool2d(large.crop, 2), small.crop, atol=0.03)
    assert torch.equal(large.embedding, small.embedding)
    with pytest.raises(ArgumentError, match="multiple of 4"):
        crop_side(130)

"""The whole way of one picture, with tiny networks."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from idfsr_core.bundle import Bundle, load_bundle
from idfsr_core.errors import ArgumentError, Cancelled, EncoderMismatchError, ImageError
from idfsr_core.identity.embedding import IdentityEmbedding
from idfsr_core.options import RestoreOptions
from idfsr_core.references import PreparedReferences, prepare_references
from idfsr_core.restoration import restore_image
from idfsr_core.runtime import Runtime
from tests import tiny
from tests.tiny import StubAnalyzer, portrait

ONE = StubAnalyzer((0.5, 0.5, 0.4))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Random tiny networks."""
    return load_bundle(tiny.write_bundle(tmp_path_factory.mktemp("bundle") / "tiny.safetensors"))


@pytest.fixture(scope="module")
def references(bundle: Bundle) -> PreparedReferences:
    """Two copies of one portrait: surely one person."""
    return prepare_references(ONE, bundle.encoder, [("a.png", portrait(seed=1)), ("b.png", portrait(seed=1))])


def test_a_picture_is_restored(bundle: Bundle, references: PreparedReferences) -> None:
    small = torch.nn.functional.avg_pool2d(portrait(seed=1), 4)
    result = restore_image(bundle, small, references, RestoreOptions(steps=2), analyzer=ONE)
    assert result.crop.shape == result.before.shape == (1, 3, 128, 128)
    assert result.scale == pytest.approx(4.0)
    assert result.image.shape == (1, 3, 160, 160)
    assert result.enlarged == 4
    assert result.reference in references.names
    assert result.reference_reason
    assert result.summary()["reference_mirrored"] is result.reference_mirrored is False
    assert 0 <= float(result.image.min()) <= float(result.image.max()) <= 1
    assert result.timings["diffusion"] > 0
    assert -1 <= result.similarity_before <= 1
    assert result.summary()["face"]["reason"] == "the only face found"


def test_the_result_follows_seed_and_identity(bundle: Bundle, references: PreparedReferences) -> None:
    image = torch.nn.functional.avg_pool2d(portrait(seed=1), 4)

    def crop(seed: int = 0, identity: IdentityEmbedding | None = None) -> torch.Tensor:
        options = RestoreOptions(steps=1, seed=seed, refine=False)
        return restore_image(bundle, image, references, options, identity, analyzer=ONE).crop

    first = crop()
    assert torch.equal(first, crop())
    assert not torch.equal(first, crop(seed=1))
    vector = references.identity.vector
    assert not torch.equal(first, crop(identity=replace(references.identity, vector=-vector)))


def test_pictures_serve_as_references_unprepared(bundle: Bundle, references: PreparedReferences) -> None:
    image, options = portrait(40), RestoreOptions(steps=1)
    raw = restore_image(bundle, image, [portrait(seed=1), portrait(seed=1)], options, analyzer=ONE)
    assert torch.equal(raw.crop, restore_image(bundle, image, references, options, analyzer=ONE).crop)


def test_an_identity_alone_is_enough(bundle: Bundle, references: PreparedReferences) -> None:
    result = restore_image(bundle, portrait(40), None, RestoreOptions(steps=1), references.identity, analyzer=ONE)
    assert result.reference is None
    with pytest.raises(ArgumentError, match="references"):
        restore_image(bundle, portrait(40), [], RestoreOptions(steps=1), analyzer=ONE)


def test_an_identity_of_another_encoder_is_refused_by_name(references: PreparedReferences, tmp_path: Path) -> None:
    other = load_bundle(tiny.write_bundle(tmp_path / "other.safetensors", seed=1))
    with pytest.raises(EncoderMismatchError, match=references.identity.encoder):
        restore_image(other, portrait(40), None, RestoreOptions(steps=1), references.identity, analyzer=ONE)


def test_a_sharp_face_is_restored_with_a_warning(bundle: Bundle, references: PreparedReferences) -> None:
    result = restore_image(bundle, portrait(160), references, RestoreOptions(steps=1), analyzer=ONE)
    assert any(warning.startswith("scale is 1.0x: the face is already sharp") for warning in result.warnings)
    assert result.image.shape == (1, 3, 160, 160)


def test_a_mild_scale_is_said_to_be_new_ground(bundle: Bundle, references: PreparedReferences) -> None:
    result = restore_image(bundle, portrait(36), references, RestoreOptions(steps=1), analyzer=ONE)
    assert any(warning.startswith("scale is 4.4x, milder") for warning in result.warnings)


def test_a_mask_of_the_user_counts(bundle: Bundle, references: PreparedReferences) -> None:
    image, options = portrait(40), RestoreOptions(steps=1, mask_grow=0, mask_feather=0, consistency=0)
    crops = [
        restore_image(bundle, image, references, options, analyzer=ONE, mask=torch.full((1, 1, 40, 40), value)).crop
        for value in (0.0, 1.0)
    ]
    assert not torch.equal(*crops)


def test_steering_changes_the_masked_face_alone(bundle: Bundle, references: PreparedReferences) -> None:
    image = torch.nn.functional.avg_pool2d(portrait(seed=1), 4)

    def crop(steering: int, identity_guidance: float = 1.0) -> torch.Tensor:
        options = RestoreOptions(steering=steering, identity_guidance=identity_guidance)
        return restore_image(bundle, image, references, options, analyzer=ONE).crop

    plain, steered = crop(0), crop(5)
    assert 0 < float((steered - plain).abs().mean()) < 0.02
    assert torch.equal(steered[..., :4, :4], plain[..., :4, :4]), "beyond the mask"
    assert torch.equal(crop(5, identity_guidance=0), crop(0, identity_guidance=0)), "no identity is wanted"


def test_pictures_that_are_none(bundle: Bundle, references: PreparedReferences) -> None:
    broken = portrait(40)
    broken[0, 0, 3, 3] = float("nan")
    with pytest.raises(ImageError, match="NaN"):
        restore_image(bundle, broken, references, analyzer=ONE)
    with pytest.raises(ImageError, match="1x1"):
        restore_image(bundle, torch.zeros(1, 3, 1, 1), references, analyzer=ONE)


def test_cancelling_stops(bundle: Bundle, references: PreparedReferences) -> None:
    with pytest.raises(Cancelled):
        restore_image(bundle, portrait(40), references, runtime=Runtime(cancelled=lambda: True), analyzer=ONE)

"""The way of one picture: each step by itself, then all of them with tiny networks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from idfsr_core.bundle import Bundle, load_bundle
from idfsr_core.errors import (
    AmbiguousFaceError,
    ArgumentError,
    Cancelled,
    EncoderMismatchError,
    FaceNotFoundError,
    ImageError,
)
from idfsr_core.face_choice import face_in_box, find_face
from idfsr_core.identity.embedding import IdentityEmbedding
from idfsr_core.options import FACE_CHOICES, MASK_MODES, SCHEDULERS, WARP_METHODS, RestoreOptions
from idfsr_core.references import CROP_SIZE, PreparedReferences, prepare_references, wide_alignment
from idfsr_core.restoration import restore_image
from idfsr_core.runtime import Runtime
from idfsr_core.steps import align, low_resolution_face, lr_size, make_mask, output_size, paste_crop
from tests import tiny
from tests.tiny import StubAnalyzer, portrait, stub_face

ONE = StubAnalyzer((0.5, 0.5, 0.4))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Random tiny networks."""
    return load_bundle(tiny.write_bundle(tmp_path_factory.mktemp("bundle") / "tiny.safetensors"))


@pytest.fixture(scope="module")
def references(bundle: Bundle) -> PreparedReferences:
    """Two copies of one portrait: surely one person."""
    return prepare_references(ONE, bundle.encoder, [("a.png", portrait(seed=1)), ("b.png", portrait(seed=1))])


# --- options ----------------------------------------------------------------------------------------------------------

OPTIONS = st.builds(
    RestoreOptions,
    steps=st.integers(1, 1000),
    seed=st.integers(0, 2**63 - 1),
    style_guidance=st.floats(0, 10),
    identity_guidance=st.floats(0, 10),
    consistency=st.floats(0, 1),
    scheduler=st.sampled_from(SCHEDULERS),
    mask_mode=st.sampled_from(MASK_MODES),
    mask_grow=st.floats(-0.5, 0.5),
    mask_feather=st.floats(0, 0.5),
    mask_forehead=st.floats(0, 2),
    warp_method=st.sampled_from(WARP_METHODS),
    reference_warp=st.sampled_from(WARP_METHODS),
    refine=st.booleans(),
    max_references=st.integers(1, 32),
    face=st.one_of(st.sampled_from(FACE_CHOICES), st.integers(0, 99)),
    box=st.none() | st.tuples(*[st.floats(-1e4, 1e4)] * 4),
    scale=st.none() | st.floats(1, 64),
    enlarge=st.none() | st.floats(1, 64),
    paste_feather=st.floats(0, 0.5),
)


@given(OPTIONS)
def test_options_round_trip_through_json(options: RestoreOptions) -> None:
    assert RestoreOptions.from_json(options.to_json()) == options


def test_every_option_is_drawn_above() -> None:
    drawn = RestoreOptions(box=(1, 2, 3, 4), scale=2.0, enlarge=3.0)
    changed = {name for name in RestoreOptions.__dataclass_fields__ if f"{name}=" in repr(drawn)}
    assert changed == set(RestoreOptions.__dataclass_fields__)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0),
        ("steps", 2.0),
        ("steps", True),
        ("seed", -1),
        ("style_guidance", float("nan")),
        ("identity_guidance", 11),
        ("consistency", 1.1),
        ("mask_mode", "medium"),
        ("warp_method", "spline"),
        ("scheduler", "ddim"),
        ("face", -1),
        ("face", "biggest"),
        ("box", (0, 0, float("inf"), 4)),
        ("scale", 0.5),
        ("max_references", 0),
    ],
)
def test_options_out_of_range_are_named(name: str, value: object) -> None:
    with pytest.raises(ArgumentError, match=f"^{name}: "):
        RestoreOptions(**{name: value})  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("text", ["", "[]", '{"steeps": 4}', "nul"])
def test_foreign_json_is_refused(text: str) -> None:
    with pytest.raises(ArgumentError, match="options"):
        RestoreOptions.from_json(text)


# --- steps ------------------------------------------------------------------------------------------------------------


def face_of(width: float, side: int = 200, x: float = 100.0, y: float = 100.0):
    return stub_face(x, y, width, (side, side))


@pytest.mark.parametrize(("width", "expected"), [(64, 128), (32, 64), (12, 24), (5, 10), (1, 3), (120, 128)])
def test_the_low_resolution_face_has_the_picture_s_pixels(width: float, expected: int) -> None:
    """A stub face 64 px wide lies as in the 128 px crop, so its crop has twice as many real pixels as its width."""
    assert lr_size(align(face_of(width))) == expected


def test_a_known_scale_overrides_the_face_s_size() -> None:
    assert lr_size(align(face_of(32)), scale=16) == 8


def test_an_upright_face_is_cut_out_pixel_by_pixel() -> None:
    """Where crop and picture have one scale and one grid, the low-resolution face is a piece of the picture."""
    image = portrait(200, seed=3)
    alignment = align(face_of(16))
    cut = low_resolution_face(image, alignment)
    assert cut.shape == (1, 3, 32, 32)
    corner = alignment.resized(32).to_image(np.zeros((1, 2)))[0]
    x, y = (int(v) for v in np.round(corner))
    assert (cut - image[..., y : y + 32, x : x + 32]).abs().max() < 0.05
    assert (cut - image[..., y : y + 32, x : x + 32]).abs().mean() < 0.01


def test_the_mask_covers_the_face_and_softens_with_mild_scales() -> None:
    landmarks = torch.from_numpy(tiny.dense_template())[None]
    hard, mild = (make_mask(landmarks, 16, RestoreOptions()), make_mask(landmarks, 2, RestoreOptions()))
    assert hard[0, 0, 76, 64] == 1
    assert hard[0, 0, 2, 2] == 0
    assert 0 < mild.max() < 1
    assert torch.equal(make_mask(landmarks, 2, RestoreOptions(mask_mode="hard")), hard)


def test_reference_crops_hold_the_template_in_their_middle() -> None:
    face = face_of(40)
    points = wide_alignment(face).to_crop(face.keypoints)
    assert np.allclose(points - (CROP_SIZE - 128) / 2, align(face).to_crop(face.keypoints), atol=1e-4)


def test_the_picture_grows_by_the_face_s_scale_within_bounds() -> None:
    assert output_size(align(face_of(8))) == (1600, 1600)
    assert output_size(align(face_of(64))) == (200, 200)
    assert output_size(align(face_of(190))) == (200, 200)
    assert output_size(align(face_of(8)), enlarge=1) == (200, 200)
    assert max(output_size(align(face_of(4, side=2000)))) == 4096
    with pytest.raises(ImageError, match="64x"):
        output_size(align(face_of(8, side=2000)), enlarge=64)


def test_pasting_what_was_there_changes_nothing_visible() -> None:
    """A crop of the enlarged picture itself, laid over it, leaves no seam."""
    image = portrait(200, seed=4)
    alignment = align(face_of(16))
    crop = alignment.crop(image)
    grown = torch.nn.functional.interpolate(image, (800, 800), mode="bicubic").clamp(0, 1)
    pasted = paste_crop(image, crop, alignment, (800, 800), 0.06)
    assert (pasted - grown).abs().max() < 0.02
    assert torch.equal(pasted[..., :100], grown[..., :100])
    assert torch.equal(paste_crop(image, crop, alignment, (200, 200), 0.06)[..., :20], image[..., :20])


# --- which face -------------------------------------------------------------------------------------------------------


def test_the_only_face_needs_no_choice(bundle: Bundle) -> None:
    face, why = find_face(ONE, bundle.encoder, portrait(), RestoreOptions())
    assert "only" in why
    assert np.allclose(face.box[[0, 2]], [48, 112], atol=1e-3)


def test_faces_are_counted_from_the_left(bundle: Bundle) -> None:
    several = StubAnalyzer((0.8, 0.5, 0.1), (0.2, 0.5, 0.1), (0.5, 0.5, 0.2))
    for choice, x in {0: 32, 1: 80, 2: 128, "left": 32, "largest": 80}.items():
        face, _ = find_face(several, bundle.encoder, portrait(), RestoreOptions(face=choice))
        assert face.box[[0, 2]].mean() == pytest.approx(x), choice
    with pytest.raises(FaceNotFoundError, match="no face number 3; there are 3: use a number from 0 to 2"):
        find_face(several, bundle.encoder, portrait(), RestoreOptions(face=3))


def test_several_faces_and_nobody_to_look_for_list_the_faces(bundle: Bundle) -> None:
    with pytest.raises(AmbiguousFaceError, match=r"2 faces: 0 at 24 70 40 90; 1 at 120 70 136 90.*--face N"):
        find_face(StubAnalyzer((0.8, 0.5, 0.1), (0.2, 0.5, 0.1)), bundle.encoder, portrait(), RestoreOptions())


def test_the_face_most_like_the_person_is_taken(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Likeness is read off the embedding: here it is told which face is whose."""
    person = prepare_references(ONE, bundle.encoder, [("a.png", portrait(seed=1))]).identity
    vector = person.vector
    other = torch.roll(vector, 1) - vector * torch.dot(torch.roll(vector, 1), vector)

    def told(_encoder: object, _image: object, keypoints: np.ndarray) -> tuple[torch.Tensor, float]:
        return (vector if keypoints[:, 0].mean() > 80 else 0.5 * vector + 0.75**0.5 * other / other.norm()), 1.0

    monkeypatch.setattr("idfsr_core.face_choice.embed_face", told)
    two = StubAnalyzer((0.2, 0.5, 0.1), (0.8, 0.5, 0.1))
    face, why = find_face(two, bundle.encoder, portrait(), RestoreOptions(), person)
    assert face.box[0] == pytest.approx(120)
    assert "most like the references of 2 faces (similarity 1.00, next 0.50)" in why


def test_faces_equally_like_the_person_are_not_guessed(bundle: Bundle) -> None:
    person = prepare_references(ONE, bundle.encoder, [("a.png", portrait(seed=1))]).identity
    twice = StubAnalyzer((0.5, 0.5, 0.4), (0.5, 0.5, 0.4))
    with pytest.raises(AmbiguousFaceError, match="none stands out"):
        find_face(twice, bundle.encoder, portrait(), RestoreOptions(), person)


def test_a_box_needs_no_detector() -> None:
    face = face_in_box(StubAnalyzer(), portrait(), (60, 60, 100, 112))
    assert face.landmarks is not None
    assert face.landmarks.mean(0) == pytest.approx([80, 86], abs=8)
    assert face.box.tolist() == [60, 60, 100, 112]


@pytest.mark.parametrize(
    "box", [(0, 0, 3.9, 20), (0, 0, 20, 3), (20, 20, 10, 30), (-9, 0, 3, 20), (161, 0, 180, 20), (157, 0, 180, 20)]
)
def test_unusable_boxes(box: tuple[float, float, float, float]) -> None:
    with pytest.raises(ArgumentError, match=r"^box: "):
        face_in_box(StubAnalyzer(), portrait(), box)


# --- references -------------------------------------------------------------------------------------------------------


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


# --- the whole way ----------------------------------------------------------------------------------------------------


def test_a_picture_is_restored(bundle: Bundle, references: PreparedReferences) -> None:
    small = torch.nn.functional.avg_pool2d(portrait(seed=1), 4)
    result = restore_image(bundle, small, references, RestoreOptions(steps=2), analyzer=ONE)
    assert result.crop.shape == result.before.shape == (1, 3, 128, 128)
    assert result.scale == pytest.approx(4.0)
    assert result.image.shape == (1, 3, 160, 160)
    assert result.enlarged == 4
    assert result.reference in references.names
    assert result.reference_reason
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


def test_a_mask_of_the_user_counts(bundle: Bundle, references: PreparedReferences) -> None:
    image, options = portrait(40), RestoreOptions(steps=1, mask_grow=0, mask_feather=0, consistency=0)
    crops = [
        restore_image(bundle, image, references, options, analyzer=ONE, mask=torch.full((1, 1, 40, 40), value)).crop
        for value in (0.0, 1.0)
    ]
    assert not torch.equal(*crops)


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

"""Which of several faces is meant, and what happens when that is not clear."""

import numpy as np
import pytest
import torch

from idfsr_core.bundle import Bundle, load_bundle
from idfsr_core.errors import AmbiguousFaceError, ArgumentError, FaceNotFoundError
from idfsr_core.face_choice import MOST_PIXELS, face_in_box, find_face, look_closely
from idfsr_core.faces.compact import CompactAnalyzer
from idfsr_core.options import RestoreOptions
from idfsr_core.references import prepare_references
from tests import tiny
from tests.tiny import StubAnalyzer, portrait

ONE = StubAnalyzer((0.5, 0.5, 0.4))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Random tiny networks."""
    return load_bundle(tiny.write_bundle(tmp_path_factory.mktemp("bundle") / "tiny.safetensors"))


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

    monkeypatch.setattr("idfsr_core.references.embed_face", told)
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


def test_large_pictures_are_searched_in_full(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within 16 megapixels the finest level has the picture's own pixels; small pictures are left to the analyzer."""
    seen: list[float] = []
    note = lambda self, image, threshold=None: seen.append(self.max_pixels) or []
    monkeypatch.setattr(CompactAnalyzer, "analyze", note)
    for side in (400, 2500, 5000):
        look_closely(bundle.analyzer, torch.zeros(1, 3, side, side))
    assert seen == [bundle.analyzer.max_pixels, 2500**2, MOST_PIXELS]

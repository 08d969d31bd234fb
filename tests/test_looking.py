"""Faces of a batch: looked for, or where the user says that they are."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from idfsr_core.errors import ArgumentError, Cancelled
from idfsr_core.looking import already_found, boxes_of_mask, fit_mask, in_boxes, in_mask, look_at_all, search
from idfsr_core.runtime import Runtime
from tests.tiny import StubAnalyzer, stub_face

SIZE = (200, 100)


def pictures(count: int) -> torch.Tensor:
    return torch.rand(count, 3, SIZE[1], SIZE[0], generator=torch.Generator().manual_seed(0))


def test_a_search_gives_faces_from_left_to_right() -> None:
    analyzer = StubAnalyzer((0.8, 0.5, 0.1), (0.2, 0.5, 0.1), (0.5, 0.5, 0.2))
    found = look_at_all(pictures(2), search(analyzer), analyzer)
    assert len(found) == 2
    for faces in found:
        assert [round(float(face.keypoints[:, 0].mean())) for face in faces] == [40, 100, 160]


def test_the_threshold_reaches_the_analyzer() -> None:
    asked = []

    class Asked(StubAnalyzer):
        def analyze(self, image, threshold=None):
            asked.append(threshold)
            return []

    look_at_all(pictures(1), search(Asked(), 0.7), Asked())
    look_at_all(pictures(1), search(Asked()), Asked())
    assert asked == [0.7, None]


def test_faces_without_landmarks_get_them() -> None:
    bare = replace(stub_face(100, 50, 30, SIZE), landmarks=None)
    ((face,),) = look_at_all(pictures(1), already_found([[bare]]), StubAnalyzer())
    assert face.landmarks is not None
    assert face.landmarks.shape == (68, 2)
    kept = stub_face(100, 50, 30, SIZE)
    ((same,),) = look_at_all(pictures(1), already_found([[kept]]), StubAnalyzer())
    assert same is kept


def test_boxes_say_where_the_face_is_in_their_order() -> None:
    boxes = [[[150.0, 20.0, 190.0, 70.0], [10.0, 20.0, 50.0, 70.0]], []]
    first, second = look_at_all(pictures(2), in_boxes(StubAnalyzer(), boxes), StubAnalyzer())
    assert [float(face.box[0]) for face in first] == [150, 10]
    assert second == ()


@pytest.mark.parametrize(
    ("box", "words"),
    [((300, 10, 340, 50), "outside the picture of 200x100"), ((10, 10, 12, 50), "at least 4 pixels")],
)
def test_a_bad_box_is_named_with_its_picture(box: tuple[float, ...], words: str) -> None:
    boxes = [[], [[10.0, 10.0, 60.0, 60.0], list(box)]]
    with pytest.raises(ArgumentError, match=words) as caught:
        look_at_all(pictures(2), in_boxes(StubAnalyzer(), boxes, "bounding_box"), StubAnalyzer())
    assert "bounding_box, box 1 of picture 1" in str(caught.value)


def test_every_patch_of_a_mask_is_a_face() -> None:
    mask = torch.zeros(1, 1, 100, 200)
    mask[..., 30:70, 140:170] = 1
    mask[..., 30:60, 20:40] = 0.6
    mask[..., 5:7, 100:102] = 1  # a speck
    found = look_at_all(pictures(2), in_mask(StubAnalyzer(), mask), StubAnalyzer())
    for faces in found:
        assert [face.box.tolist() for face in faces] == [[20, 30, 40, 60], [140, 30, 170, 70]]


def test_boxes_of_an_empty_mask_are_none() -> None:
    assert boxes_of_mask(np.zeros((10, 10), np.float32)).shape == (0, 4)


def test_a_mask_is_fitted_and_that_is_said() -> None:
    mask = torch.zeros(1, 1, 50, 100)
    mask[..., 10:20, 20:40] = 1
    fitted, note = fit_mask(mask, pictures(2))
    assert fitted.shape == (1, 1, 100, 200)
    assert "100x50" in note
    assert "200x100" in note
    np.testing.assert_allclose(boxes_of_mask(fitted[0, 0].numpy()), [[40, 20, 80, 40]], atol=1)
    same, nothing = fit_mask(fitted, pictures(2))
    assert same is fitted
    assert nothing == ""


def test_a_mask_that_cannot_be_meant_is_refused() -> None:
    with pytest.raises(ArgumentError, match="nothing painted"):
        fit_mask(torch.zeros(1, 1, 64, 64), pictures(1))
    with pytest.raises(ArgumentError, match="3 masks for 2 pictures"):
        fit_mask(torch.ones(3, 1, 64, 64), pictures(2))
    with pytest.raises(ArgumentError, match="mask"):
        look_at_all(pictures(1), in_mask(StubAnalyzer(), torch.ones(1, 1, 64, 64)), StubAnalyzer())


def test_progress_is_told_and_a_stop_is_obeyed() -> None:
    told = []
    runtime = Runtime(progress=lambda done, total, image=None: told.append((done, total)))
    look_at_all(pictures(3), already_found([[], [], []]), StubAnalyzer(), runtime)
    assert told == [(1, 3), (2, 3), (3, 3)]
    with pytest.raises(Cancelled):
        look_at_all(pictures(1), already_found([[]]), StubAnalyzer(), Runtime(cancelled=lambda: True))

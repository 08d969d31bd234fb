"""Which of several faces is meant."""

import numpy as np
import pytest

from idfsr_core.errors import AmbiguousFaceError, ArgumentError, FaceNotFoundError
from idfsr_core.faces.face import Face
from idfsr_core.faces.selection import check_box, left_to_right, select_face


def _face(x: float, y: float, size: float, score: float = 0.9) -> Face:
    keypoints = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]]) * size + [x, y]
    return Face(
        box=np.array([x, y, x + size, y + size]), score=score, keypoints=keypoints, landmarks=None,
        image_size=(200, 100),
    )  # fmt: skip


MIDDLE, RIGHT, LEFT = _face(80, 10, 20, 0.9), _face(150, 30, 40, 0.8), _face(5, 40, 30, 0.7)
FACES = [MIDDLE, RIGHT, LEFT]  # best score first


@pytest.mark.parametrize(
    ("how", "more", "expected"),
    [
        ("largest", {}, RIGHT),
        ("index", {"index": 0}, MIDDLE),
        ("index", {"index": 2}, LEFT),
        ("left", {"index": 0}, LEFT),
        ("left", {"index": 1}, MIDDLE),
        ("left", {"index": -1}, RIGHT),
        ("identity", {"similarity": lambda face: -abs(face.width - 31)}, LEFT),
        ("box", {"box": (140, 20, 190, 80)}, RIGHT),
        ("box", {"box": (0, 0, 100, 100)}, LEFT),
    ],
)
def test_rules(how, more, expected):
    assert select_face(FACES, how, **more) is expected


def test_left_to_right():
    assert left_to_right(FACES) == [LEFT, MIDDLE, RIGHT]


def test_the_only_face_needs_no_rule():
    assert select_face([RIGHT]) is RIGHT


def test_several_faces_and_no_rule():
    with pytest.raises(AmbiguousFaceError, match=r"party\.jpg: 3 faces"):
        select_face(FACES, what="party.jpg")


@pytest.mark.parametrize("how", ["only", "largest", "left", "identity", "box"])
def test_no_face(how):
    with pytest.raises(FaceNotFoundError, match="no face found"):
        select_face([], how)


@pytest.mark.parametrize("index", [3, -4, 99])
def test_number_beyond_the_faces(index):
    with pytest.raises(FaceNotFoundError, match="from 0 to 2"):
        select_face(FACES, "left", index=index)


def test_box_without_a_face():
    with pytest.raises(FaceNotFoundError, match="no face in the box"):
        select_face([MIDDLE], "box", box=(150, 50, 190, 90))


@pytest.mark.parametrize(("how", "more"), [("tallest", {}), ("identity", {}), ("box", {}), ("box", {"box": (1, 2, 3)})])
def test_wrong_arguments(how, more):
    with pytest.raises(ArgumentError):
        select_face(FACES, how, **more)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ((210, 10, 240, 40), "outside the picture of 200x100"),
        ((10, 110, 40, 140), "outside"),
        ((-50, 10, -5, 40), "outside"),
        ((10, 10, 13, 40), "at least 4 pixels"),
        ((40, 10, 10, 40), "at least 4 pixels"),
        ((197, 10, 300, 40), "at least 4 pixels"),
        ((float("nan"), 0, 5, 5), "four numbers"),
    ],
)
def test_unusable_boxes(box, message):
    with pytest.raises(ArgumentError, match=message):
        check_box(box, (200, 100))


def test_box_is_cut_to_the_picture():
    assert check_box((-5, -5, 300, 50), (200, 100)).tolist() == [0, 0, 200, 50]

"""Following one face through frames, and smoothing its points."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from idfsr_core.errors import ArgumentError
from idfsr_core.faces.face import Face
from idfsr_core.faces.tracking import PATIENCE, follow, same_face, smooth_faces
from tests.tiny import stub_face

SIZE = (400, 300)


def at(x: float, y: float = 150.0, width: float = 40.0) -> Face:
    return stub_face(x, y, width, SIZE)


def points(face: Face | None) -> np.ndarray:
    assert face is not None
    assert face.landmarks is not None
    return np.concatenate([face.box.reshape(2, 2), face.keypoints, face.landmarks])


def centre(face: Face | None) -> float:
    assert face is not None
    return float(face.box[0] + face.box[2]) / 2


def test_near_boxes_of_like_size_are_one_face() -> None:
    assert same_face(at(100), at(120))
    assert not same_face(at(100), at(200))
    assert same_face(at(100), at(200), frames=3)
    assert not same_face(at(100), at(100, width=90))


def test_a_face_is_followed_although_another_grows_larger() -> None:
    """The rule "largest" would jump to the person on the right in frame 2."""
    frames = [[at(100, width=50), at(300, width=width)] for width in (40, 45, 60, 60)]
    largest = [max(faces, key=lambda face: face.width) for faces in frames]
    assert [centre(face) for face in largest] == pytest.approx([100, 100, 300, 300])
    assert [centre(face) for face in follow(frames, largest)] == pytest.approx([100] * 4)


def test_a_face_is_followed_both_ways_from_the_surest_frame() -> None:
    frames = [[at(100), at(300)]] * 4
    chosen = [faces[0] for faces in frames[:2]] + [faces[1] for faces in frames[2:]]
    assert [centre(face) for face in follow(frames, chosen, start=2)] == pytest.approx([300] * 4)


def test_a_missed_frame_is_no_reason_to_take_somebody_else() -> None:
    frames = [[at(100), at(300)], [at(300)], [at(102), at(300)]]
    found = follow(frames, [faces[0] for faces in frames])
    assert [None if face is None else round(centre(face)) for face in found] == [100, None, 102]


def test_after_a_cut_the_rule_chooses_anew() -> None:
    frames = [[at(100)], *[[at(300)]] * (PATIENCE + 2)]
    found = follow(frames, [faces[0] for faces in frames])
    assert found[1 : 1 + PATIENCE] == [None] * PATIENCE
    assert found[-1] is frames[-1][0]


def test_nobody_anywhere_is_followed_by_nobody() -> None:
    assert follow([[], [], []], [None, None, None]) == [None, None, None]
    assert follow([], []) == []
    with pytest.raises(ArgumentError, match="one choice a frame"):
        follow([[]], [])


def test_smoothing_switched_off_changes_nothing() -> None:
    faces = [at(100), None, at(130)]
    assert smooth_faces(faces, 0) == faces
    with pytest.raises(ArgumentError, match="smooth"):
        smooth_faces(faces, -1)


@settings(max_examples=40, deadline=None)
@given(start=st.floats(80, 120), speed=st.floats(-8, 8), frames=st.floats(0.1, 10), count=st.integers(1, 20))
def test_an_even_movement_stays_as_it_is(start: float, speed: float, frames: float, count: int) -> None:
    """At the ends of the track too: nothing lags behind."""
    faces = [at(start + 40 + speed * k, 150 - speed * k / 2) for k in range(count)]
    for before, after in zip(faces, smooth_faces(faces, frames), strict=True):
        np.testing.assert_allclose(points(after), points(before), atol=2e-2)


@settings(max_examples=25, deadline=None)
@given(
    jitter=st.lists(st.floats(-3, 3), min_size=5, max_size=30),
    shift=st.floats(-40, 40),
    frames=st.floats(0.5, 4),
)
def test_smoothing_does_not_care_where_the_face_is(jitter: list[float], shift: float, frames: float) -> None:
    here = smooth_faces([at(150 + dx) for dx in jitter], frames)
    there = smooth_faces([at(150 + shift + dx) for dx in jitter], frames)
    for a, b in zip(here, there, strict=True):
        np.testing.assert_allclose(points(b) - points(a), np.broadcast_to([shift, 0], (75, 2)), atol=1e-2)


@pytest.mark.parametrize(("frames", "share"), [(1.0, 0.65), (2.0, 0.5), (4.0, 0.4)])
def test_jitter_is_calmed(frames: float, share: float) -> None:
    jitter = np.random.default_rng(0).normal(0, 2, 200)
    smooth = np.array([centre(face) for face in smooth_faces([at(150 + dx) for dx in jitter], frames)]) - 150
    assert smooth.std() < share * jitter.std()
    assert abs(smooth.mean() - jitter.mean()) < 0.1


def test_more_smoothing_is_calmer_and_other_people_do_not_leak_in() -> None:
    jump = [at(100), at(101), at(99), at(300), at(301), at(299)]
    smooth = smooth_faces(jump, 3)
    assert all(abs(centre(face) - 100) < 2 for face in smooth[:3])
    assert all(abs(centre(face) - 300) < 2 for face in smooth[3:])


def test_a_short_gap_is_filled_and_a_long_one_stays() -> None:
    faces = [at(100), at(104), None, at(112), at(116)]
    filled = smooth_faces(faces, 1)
    assert centre(filled[2]) == pytest.approx(108, abs=0.01)
    assert filled[2] is not None
    assert filled[2].score == 0
    assert filled[1] is not None
    assert filled[1].score == pytest.approx(0.9)
    long = [at(100), *[None] * (PATIENCE + 1), at(100)]
    assert smooth_faces(long, 1)[1:-1] == [None] * (PATIENCE + 1)


def test_frames_before_and_after_a_track_stay_empty() -> None:
    smooth = smooth_faces([None, at(100), at(101), None, None], 2)
    assert [face is None for face in smooth] == [True, False, False, True, True]


def test_a_track_without_landmarks_has_none_afterwards() -> None:
    bare = [Face(box=f.box, score=1, keypoints=f.keypoints, landmarks=None, image_size=SIZE) for f in (at(1), at(2))]
    assert all(face is not None and face.landmarks is None for face in smooth_faces(bare, 1))

"""Who is restored from what does not depend on chance or on how many are asked for."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from idfsr_core.errors import ArgumentError
from idfsr_core.evaluation.metrics import landmark_error
from idfsr_core.evaluation.protocol import (
    Case,
    EvaluationSettings,
    Photo,
    PhotoReader,
    choose_cases,
    displaced_landmarks,
    load_subjects,
    rough_box,
)
from idfsr_core.pretraining.data import FaceLibrary
from tests import tiny
from tests.evaluation.people import StubLandmarks, library

SETTINGS = EvaluationSettings(people=6, references=2)


def test_the_choice_is_the_same_for_the_same_seed():
    photos = library(people=6)
    assert choose_cases(photos, SETTINGS) == choose_cases(photos, SETTINGS)


def test_another_seed_chooses_otherwise():
    photos = library(people=6)
    other = EvaluationSettings(people=6, references=2, seed=1)
    assert [case.target for case in choose_cases(photos, SETTINGS)] != [c.target for c in choose_cases(photos, other)]


def test_few_people_are_the_first_of_many():
    photos = library(people=6)
    few = choose_cases(photos, EvaluationSettings(people=3, references=2))
    assert few == choose_cases(photos, SETTINGS)[:3]


def test_target_and_references_are_different_photos_of_one_person():
    photos = library(people=6)
    people = set()
    for case in choose_cases(photos, SETTINGS):
        used = (case.target, *case.photos)
        assert len(set(used)) == 4
        assert len(case.references) == 2
        assert len({int(photos.identities[index]) for index in used}) == 1
        people.add(int(photos.identities[case.target]))
    assert len(people) == 6


def test_people_with_too_few_photos_are_left_out():
    with pytest.raises(ArgumentError, match="references"):
        choose_cases(library(people=3, photos=2), SETTINGS)


def test_a_box_drawn_by_hand_is_near_the_face_and_repeats():
    photos = library()
    subjects = load_subjects(PhotoReader(library=photos, landmarks=StubLandmarks()), choose_cases(photos, SETTINGS))
    boxes = [rough_box(subject.target, subject.case, 0) for subject in subjects]
    again = [rough_box(subject.target, subject.case, 0) for subject in subjects]
    assert all(np.array_equal(a, b) for a, b in zip(boxes, again, strict=True))
    for subject, box in zip(subjects, boxes, strict=True):
        width = float(np.ptp(subject.target.landmarks[:, 0]))
        assert 0.5 * width < box[2] - box[0] < 2 * width
        assert abs((box[0] + box[2]) / 2 - subject.target.landmarks[:, 0].mean()) < width


@pytest.mark.parametrize(
    "wrong", [{"people": 0}, {"scales": (7,)}, {"landmarks": ("guessed",)}, {"degradation": "salt"}, {"batch": 0}]
)
def test_settings_refuse_what_they_cannot_do(wrong: dict):
    with pytest.raises(ArgumentError, match=next(iter(wrong)).rstrip("s")):
        EvaluationSettings(**wrong)


def test_people_who_lack_photos_for_another_run_can_be_left_out():
    uneven = library(people=4, photos=4)
    keep = np.array([not (person == 1 and place > 2) for place, person in _places(uneven)])
    few = replace(
        uneven,
        photos=[photo for photo, kept in zip(uneven.photos, keep, strict=True) if kept],
        identities=uneven.identities[keep],
        keypoints=uneven.keypoints[keep],
    )
    one = EvaluationSettings(references=1, least=3)
    three = EvaluationSettings(references=3)
    with_one, with_three = choose_cases(few, one), choose_cases(few, three)
    assert len(with_one) == len(with_three) == 3
    assert [case.target for case in with_one] == [case.target for case in with_three]
    for less, more in zip(with_one, with_three, strict=True):
        assert less.references == more.references[:1]
    assert len(choose_cases(few, EvaluationSettings(references=1))) == 4


def _places(photos: FaceLibrary) -> list[tuple[int, int]]:
    """Number within the person, and the person, of each photo."""
    return [(index % 4, int(person)) for index, person in enumerate(photos.identities)]


def test_another_draw_gives_another_set_and_keeps_the_target():
    photos = library(people=3, photos=5)
    draws = [choose_cases(photos, EvaluationSettings(references=2, draw=draw)) for draw in range(6)]
    for person in zip(*draws, strict=True):
        assert len({case.target for case in person}) == 1
        assert len({frozenset(case.references) for case in person}) == 6  # all that two out of four give
        assert len({frozenset(case.photos) for case in person}) == 1


def test_more_draws_than_there_are_sets_are_refused():
    with pytest.raises(ArgumentError, match="draw"):
        choose_cases(library(people=3, photos=5), EvaluationSettings(references=2, draw=6))


@given(amount=st.floats(0.01, 0.5), number=st.integers(0, 50), seed=st.integers(0, 9))
@settings(max_examples=25, deadline=None)
def test_landmarks_are_displaced_by_as_much_as_asked(amount: float, number: int, seed: int):
    photo = Photo(image=torch.zeros(1, 3, 192, 192), keypoints=tiny.FFHQ_128 + 32, landmarks=tiny.dense_template() + 32)
    case = Case(number=number, target=0, references=(1,), further=())
    moved = displaced_landmarks(photo, case, seed, amount)
    assert landmark_error(moved[None], photo.landmarks[None]) == pytest.approx(amount, rel=1e-3)
    further = displaced_landmarks(photo, case, seed, 2 * amount)
    assert further - photo.landmarks == pytest.approx(2 * (moved - photo.landmarks), abs=1e-3)
    assert displaced_landmarks(photo, case, seed, 0) is photo.landmarks


def test_only_true_landmarks_can_be_displaced():
    with pytest.raises(ArgumentError, match="displaced"):
        EvaluationSettings(displaced=0.1)

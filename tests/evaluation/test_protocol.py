"""Who is restored from what does not depend on chance or on how many are asked for."""

import numpy as np
import pytest

from idfsr_core.errors import ArgumentError
from idfsr_core.evaluation.protocol import EvaluationSettings, choose_cases, load_subjects, rough_box
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
    subjects = load_subjects(photos, choose_cases(photos, SETTINGS), StubLandmarks())
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

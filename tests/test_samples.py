"""The shipped sample people and their group picture."""

import itertools
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from idfsr_core import samples
from idfsr_core.errors import ArgumentError
from idfsr_core.images import list_images, read_image, to_uint8
from idfsr_core.pretraining.sample_scene import SIZE

SAMPLES = Path(__file__).resolve().parent.parent / "idfsr_core" / "assets" / "samples"
PEOPLE = ("anna", "ben", "clara")


@pytest.fixture(scope="module")
def record() -> dict:
    return json.loads((SAMPLES / "samples.json").read_text())


def photos(name: str) -> list[np.ndarray]:
    return [to_uint8(read_image(path)) for path in list_images(SAMPLES / name)]


def test_three_people_and_nothing_else():
    assert sorted(path.name for path in SAMPLES.iterdir() if path.is_dir()) == sorted(PEOPLE)


@pytest.mark.parametrize("name", PEOPLE)
def test_at_least_five_photos_of_one_size(name):
    shapes = [photo.shape for photo in photos(name)]
    assert len(shapes) >= 5
    assert set(shapes) == {(192, 192, 3)}


@pytest.mark.parametrize("name", PEOPLE)
def test_photos_of_a_person_differ(name):
    small = [cv2.resize(photo[48:160, 40:152], (28, 28), interpolation=cv2.INTER_AREA) for photo in photos(name)]
    for one, other in itertools.combinations(small, 2):
        assert np.abs(one.astype(int) - other).mean() > 2


@pytest.mark.parametrize("name", PEOPLE)
def test_every_photo_has_its_keypoints(record, name):
    points = record["people"][name]
    assert sorted(points) == [path.name for path in list_images(SAMPLES / name)]
    for five in map(np.array, points.values()):
        assert five.shape == (5, 2)
        assert five[0, 0] < five[1, 0]
        assert five[:2, 1].max() < five[2, 1] < five[3:, 1].min()
        assert 20 < np.linalg.norm(five[1] - five[0]) < 45


def test_scene_shows_everybody_small(record):
    height, width = read_image(SAMPLES / "scene.jpg").shape[-2:]
    assert (width, height) == SIZE
    assert sorted(record["scene"]) == sorted(PEOPLE)
    for five in map(np.array, record["scene"].values()):
        assert (five > 0).all()
        assert (five < (width, height)).all()
        assert 4 < np.linalg.norm(five[1] - five[0]) < 9  # a face 10 to 18 pixels wide


def test_samples_stay_small():
    assert sum(path.stat().st_size for path in SAMPLES.rglob("*") if path.is_file()) < 2**20


@pytest.mark.shared
@pytest.mark.slow
def test_nobody_of_the_validation_people_is_in_the_samples(shared_dir):
    """A quick look; ``python -m idfsr_core.pretraining.sample_people --check`` compares with everybody."""
    from idfsr_core.pretraining.crowd import LEAST, LIMIT, read_crowd
    from idfsr_core.pretraining.sample_people import check

    found = check(read_crowd(shared_dir, None, ("val",), at_most=4), SAMPLES)
    for name, likeness in found.items():
        assert likeness.person < LIMIT, name
        assert likeness.least >= LEAST, name


# --- by name ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PEOPLE)
def test_a_person_s_pictures_by_name(name):
    assert samples.references(name).shape == (5, 3, 192, 192)
    assert samples.truth(name).shape == (1, 3, 192, 192)
    assert samples.small_portrait(name).shape == (1, 3, 24, 24)
    assert samples.group().shape[-2:] == SIZE[::-1]
    assert samples.PEOPLE == PEOPLE


@pytest.mark.parametrize("name", ["dora", "../samples", ""])
def test_nobody_else_is_known(name):
    for make in (samples.references, samples.truth, samples.small_portrait, samples.frames):
        with pytest.raises(ArgumentError, match="anna, ben, clara"):
            make(name)


@pytest.mark.parametrize("name", PEOPLE)
def test_the_film_moves_and_keeps_the_person_in_view(record, name):
    film = samples.frames(name)
    assert film.shape == (12, 3, 120, 160)
    assert float(film.min()) >= 0
    assert float(film.max()) <= 1
    assert np.array_equal(film, samples.frames(name)), "the same each time"
    assert min(float((a - b).abs().mean()) for a, b in itertools.pairwise(film)) > 0.005, "every frame differs"
    points = np.array(record["scene"][name])
    for place in np.linspace(0, 1, 12):
        view = samples._view(name, float(place), SIZE[0])
        x, y = (points @ view[:, :2].T + view[:, 2]).T
        assert 20 < x.min() <= x.max() < 140
        assert 20 < y.min() <= y.max() < 100
        corners = np.array([[0, 0], [159, 119]]) @ np.linalg.inv(view[:, :2]).T - view[:, 2] / view[0, 0]
        assert corners.min() >= -0.01, "no edge of the scene is seen"
        assert (corners[1] <= [SIZE[0], SIZE[1]]).all()

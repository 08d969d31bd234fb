import json

import numpy as np
import pytest
import torch

from idfsr_core.errors import ArgumentError
from idfsr_core.identity.encoders import Embedded
from idfsr_core.images import read_image
from idfsr_core.pretraining.crowd import Crowd, compare, unit, worst
from idfsr_core.pretraining.data import FaceLibrary
from idfsr_core.pretraining.sample_people import (
    PLACES,
    Portrait,
    Settings,
    View,
    check,
    choose_donors,
    choose_views,
    write_people,
)
from idfsr_core.pretraining.sample_scene import SIZE, Figure, draw_scene

from .test_blending import face


def vectors(seed, count, dim=64):
    return unit(np.random.default_rng(seed).normal(size=(count, dim)))


def portrait(seed):
    rng = np.random.default_rng(seed)
    picture = rng.integers(60, 200, (96, 96, 3)).astype(np.uint8)
    five = np.array([[39, 45], [57, 45], [48, 55], [41, 64], [55, 64]], np.float32)
    return Portrait(picture=picture, keypoints=five, landmarks=face())


def views(donor, count, spread=2.0):
    rng = np.random.default_rng(donor)
    made = []
    for photo in range(count):
        points = face() + rng.normal(0, spread, 2) + rng.normal(0, spread / 2, (68, 2))
        tone = rng.uniform(90, 110, (18, 16, 3)).astype(np.float32)
        number = 100 * donor + photo
        for mirrored in (False, True):
            made.append(View(donor=donor, photo=number, mirrored=mirrored, landmarks=points, tone=tone))
    return made


class Flat:
    """An encoder that sees the mean colour of a picture."""

    name, hash, dim = "flat", "0" * 16, 3

    def embed(self, image, keypoints):
        mean = image.mean((2, 3))
        return Embedded(vectors=mean / mean.norm(dim=1, keepdim=True), quality=torch.ones(len(image)))


def crowd():
    library = FaceLibrary(photos=[], identities=np.zeros(0, np.int64), names=[], keypoints=np.zeros((0, 5, 2)))
    seen = unit(np.array([[1.0, 0, 0], [0.9, 0.1, 0], [0, 0, 1]]))
    return Crowd(library=library, encoders=(Flat(),), vectors=(seen,), identities=np.array([0, 0, 1]))


def test_fewer_than_four_donors_are_refused():
    with pytest.raises(ArgumentError, match="four people"):
        Settings(donors=3)


def test_donors_look_alike_and_are_unlike_to_the_encoders():
    tones = np.arange(30, dtype=np.float32)[:, None]
    seen = vectors(0, 30)
    seen[11] = seen[10]  # the twin of the lead
    chosen = choose_donors(10, tones, [seen], Settings(donors=5, pool=20, unlike=0.3))
    assert chosen[0] == 10
    assert 11 not in chosen
    assert np.abs(np.array(chosen) - 10).max() <= 10
    likeness = seen[chosen] @ seen[chosen].T - np.eye(5)
    assert likeness.max() < 0.3


def test_too_few_donors_are_named():
    with pytest.raises(ArgumentError, match="1 donors"):
        choose_donors(0, np.zeros((8, 1)), [np.ones((8, 4)) / 2], Settings(donors=4))


def test_every_portrait_takes_as_many_different_photos_of_each_donor():
    settings = Settings(donors=4, portraits=3, photos=2)
    chosen = choose_views([views(donor, 8) for donor in range(4)], settings)
    assert len(chosen) == 3
    for each in chosen:
        assert [view.donor for view in each] == [0, 0, 1, 1, 2, 2, 3, 3]
        assert len({view.photo for view in each}) == 8


def test_portraits_take_different_photos():
    settings = Settings(donors=4, portraits=3, photos=2)
    first, second, third = choose_views([views(donor, 12) for donor in range(4)], settings)
    used = [{view.photo for view in each} for each in (first, second, third)]
    assert len(used[0] & used[1]) <= 4
    assert used[1] != used[2]


def test_comparison_finds_the_nearest_person_and_photo():
    people = np.array([0, 0, 1])
    photos = unit(np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]))
    found = compare(unit(np.array([[1.0, 0, 0], [1, 0, 0.1]])), photos, people)
    assert found.photo == pytest.approx(1)
    assert found.person == pytest.approx(np.sqrt(0.5))
    assert found.least == pytest.approx(found.mean)
    assert found.least == pytest.approx(1 / np.sqrt(1.01))
    assert not found.acceptable


def test_the_worst_encoder_counts():
    people, mine = np.array([0, 1]), vectors(1, 3)
    one, other = compare(mine, vectors(2, 2), people), compare(mine, mine[:2], people)
    both = worst([one, other])
    assert both.person == max(one.person, other.person)
    assert both.least == min(one.least, other.least)
    assert (both.people >= one.people).all()


def test_one_portrait_cannot_be_compared():
    with pytest.raises(ArgumentError, match="two or more"):
        crowd().measure([portrait(0).picture], portrait(0).keypoints[None])


def test_written_people_are_read_and_measured(tmp_path):
    people = {name: [portrait(5 * place + k) for k in range(3)] for place, name in enumerate(PLACES)}
    write_people(tmp_path, people, seed=0)
    record = json.loads((tmp_path / "samples.json").read_text())
    assert list(record["people"]["anna"]) == ["1.jpg", "2.jpg", "3.jpg"]
    assert read_image(tmp_path / "scene.jpg").shape == (1, 3, SIZE[1], SIZE[0])
    found = check(crowd(), tmp_path)
    assert sorted(found) == sorted(PLACES)
    assert found["anna"].least > 0.99  # grey noise looks alike to this encoder
    assert found["anna"].person == pytest.approx(1 / np.sqrt(3), abs=0.08)


def test_scene_puts_the_eyes_where_they_are_wanted():
    made = portrait(0)
    figure = Figure(**vars(made), centre=(100.0, 90.0), face=15.0, cloth=(90, 90, 90))
    scene = draw_scene([figure], seed=1)
    assert scene.picture.shape == (SIZE[1], SIZE[0], 3)
    eyes = scene.keypoints[0][:2]
    np.testing.assert_allclose(eyes.mean(0), (100, 90), atol=0.5)
    assert np.linalg.norm(eyes[1] - eyes[0]) == pytest.approx(18 * 15 / 40, rel=0.05)


def test_scene_shows_the_portrait():
    """The face in the scene has the colour of the portrait: red here, in a picture of grey and green."""
    made = portrait(0)
    red = np.zeros_like(made.picture)
    red[..., 0] = 220
    figure = Figure(
        picture=red,
        keypoints=made.keypoints,
        landmarks=made.landmarks,
        centre=(128.0, 80.0),
        face=20.0,
        cloth=(90, 90, 90),
    )
    spot = draw_scene([figure], seed=1).picture[76:84, 124:132].reshape(-1, 3).mean(0)
    assert spot[0] > 180
    assert spot[1] < 60

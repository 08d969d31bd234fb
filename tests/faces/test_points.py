"""The order of the points under mirroring."""

import numpy as np

from idfsr_core.faces.points import LANDMARKS, MIRROR_5, MIRROR_68, five_from_dense


def test_mirroring_twice_changes_nothing():
    for order in (MIRROR_5, MIRROR_68):
        assert sorted(order) == list(range(len(order)))
        assert (order[order] == np.arange(len(order))).all()


def test_five_points_of_mirrored_landmarks_are_the_mirrored_five_points():
    points = np.random.default_rng(0).normal(size=(3, LANDMARKS, 2))
    flipped = points[:, MIRROR_68] * [-1, 1]
    np.testing.assert_allclose(five_from_dense(flipped), five_from_dense(points)[:, MIRROR_5] * [-1, 1], atol=1e-12)


def test_points_on_the_middle_line_stay():
    middle = [8, 27, 28, 29, 30, 33, 51, 57, 62, 66]  # chin, ridge and tip of the nose, middles of the lips
    assert MIRROR_68[middle].tolist() == middle

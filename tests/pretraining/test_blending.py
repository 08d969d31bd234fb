import numpy as np
import pytest

from idfsr_core.pretraining.blending import (
    blend,
    blend_weights,
    calm_background,
    draw_on_mean_shape,
    equalise,
    face_height,
    fuse,
    regions_of,
    relight,
)

SIZE = 96


def face(shift=(0.0, 0.0), scale=1.0):
    """68 plausible landmarks in the middle of the picture, in the iBUG order."""
    angle = np.linspace(np.pi, 0, 17)
    jaw = np.stack([-np.cos(np.pi - angle) * 20, np.sin(angle) * 26], 1)
    brows = np.stack([np.r_[np.linspace(-15, -5, 5), np.linspace(5, 15, 5)], np.full(10, -8.0)], 1)
    nose = np.stack([np.r_[np.zeros(4), np.linspace(-4, 4, 5)], np.r_[np.linspace(-3, 7, 4), np.full(5, 9.0)]], 1)
    ring = np.linspace(0, 2 * np.pi, 7)[:6]
    eyes = [np.stack([x + 3 * np.cos(ring), -3 + np.sin(ring)], 1) for x in (-9, 9)]
    turn = np.linspace(0, 2 * np.pi, 13)[:12]
    mouth = np.stack([8 * np.cos(turn), 16 + 3 * np.sin(turn)], 1)
    inner = np.stack([5 * np.cos(turn[:8] * 1.5), 16 + np.sin(turn[:8] * 1.5)], 1)
    points = np.concatenate([jaw, brows, nose, *eyes, mouth, inner])
    return (points * scale + SIZE / 2 + np.array(shift)).astype(np.float32)


def texture(seed):
    return np.random.default_rng(seed).uniform(40, 200, (SIZE, SIZE, 3)).astype(np.float32)


def test_equal_photos_blend_to_themselves():
    photos = np.repeat(texture(0)[None], 5, 0)
    regions = regions_of(face(), SIZE)
    result = fuse(photos, blend_weights(photos, regions, np.ones(5)), regions)
    np.testing.assert_allclose(result, photos[0], atol=0.05)


def test_weights_sum_to_one_and_shun_the_odd_one_out():
    photos = np.repeat(texture(0)[None], 6, 0)
    photos[2, 40:60, 40:60] = 0
    weights = blend_weights(photos, regions_of(face(), SIZE), np.ones(6))
    np.testing.assert_allclose(weights.sum(0), 1, atol=1e-5)
    assert weights[2, 50, 50, 0] < 0.25 * weights[0, 50, 50, 0]


def test_shares_move_the_average():
    photos = np.stack([np.full((SIZE, SIZE, 3), value, np.float32) for value in (100, 110)])
    regions = regions_of(face(), SIZE)
    even = fuse(photos, blend_weights(photos, regions, np.ones(2)), regions).mean()
    towards = fuse(photos, blend_weights(photos, regions, np.array([1, 0.25])), regions).mean()
    assert even == pytest.approx(105, abs=0.2)
    assert towards < even - 2


def test_fusing_keeps_the_energy_that_a_plain_average_loses():
    photos = np.stack([texture(seed) for seed in range(8)])
    regions = regions_of(face(), SIZE)
    inside = regions.face > 0.9
    result = fuse(photos, blend_weights(photos, regions, np.ones(8)), regions)
    plain, single = photos.mean(0)[inside].std(), photos[0][inside].std()
    assert plain < 0.45 * single
    assert result[inside].std() > 1.5 * plain
    assert result[inside].std() < 1.1 * single


def test_photos_are_drawn_onto_the_mean_shape():
    """A bright dot on a landmark of each photo lies on the mean landmark in each drawn photo."""
    shapes = np.stack([face((-5, 3)), face((5, -3), 1.1)])
    photos = np.zeros((2, SIZE, SIZE, 3), np.float32)
    y, x = np.mgrid[:SIZE, :SIZE]
    for photo, shape in zip(photos, shapes, strict=True):
        photo[:] = 255 * np.exp(-((x - shape[30, 0]) ** 2 + (y - shape[30, 1]) ** 2) / 8)[..., None]
    drawn, mean = draw_on_mean_shape(photos, shapes)
    np.testing.assert_allclose(mean, shapes.mean(0), atol=1e-4)
    for photo in drawn[..., 0]:
        centre = np.array([(x * photo).sum(), (y * photo).sum()]) / photo.sum()
        np.testing.assert_allclose(centre, mean[30], atol=0.3)


def test_equalising_gives_all_faces_one_tone():
    photos = np.stack([texture(1) * 0.5, texture(2) * 0.5 + 90])
    regions = regions_of(face(), SIZE)
    means = [photo[regions.face > 0.5].mean() for photo in equalise(photos, regions)]
    assert means[0] == pytest.approx(means[1], abs=0.5)


def test_background_is_calmed_and_the_face_left_alone():
    photo, shape = texture(3), face()
    result = calm_background(photo, shape, np.random.default_rng(0))
    np.testing.assert_allclose(result[44:56, 44:52], photo[44:56, 44:52], atol=0.5)
    assert result[:8, :8].std() < 0.4 * photo[:8, :8].std()


def test_light_stays_in_range_and_follows_the_seed():
    photo = texture(4)
    one, again, other = (relight(photo, face(), np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert 0 <= one.min() <= one.max() <= 255
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 1


def test_blend_is_deterministic_and_uint8():
    photos, shapes = np.stack([texture(s) for s in range(4)]), np.stack([face((s, 0)) for s in range(4)])
    one, shape = blend(photos, shapes, np.ones(4), np.random.default_rng(0))
    again, _ = blend(photos, shapes, np.ones(4), np.random.default_rng(0))
    assert one.dtype == np.uint8
    assert one.shape == (SIZE, SIZE, 3)
    assert face_height(shape) == pytest.approx(face_height(face()), rel=0.05)
    np.testing.assert_array_equal(one, again)

"""The benchmark of analyzers, with analyzers whose answers are known."""

import json

import numpy as np
import pytest
import torch

from idfsr_core.errors import ArgumentError
from idfsr_core.evaluation.analyzer import (
    CANVAS,
    Case,
    Source,
    background_without_faces,
    benchmark,
    judge,
    make_case,
    markdown,
    point_error,
    rough_box_errors,
    to_json,
)
from idfsr_core.faces.compact import CropPoints
from idfsr_core.faces.cropping import box_from_keypoints
from idfsr_core.faces.face import Face

FIVE = np.array([[80.0, 92.0], [112.0, 92.0], [96.0, 110.0], [82.0, 125.0], [110.0, 125.0]])
BOX = box_from_keypoints(torch.from_numpy(FIVE[None]))[0].numpy()


def _source(*others: np.ndarray) -> Source:
    image = np.full((192, 192, 3), 60, np.uint8)
    for x, y in FIVE.astype(int):
        image[y - 6 : y + 7, x - 6 : x + 7] = (250, 20, 20)
    return Source(image=image, keypoints=np.stack([FIVE, *others]))


def _face(keypoints: np.ndarray, score: float = 0.9) -> Face:
    box = box_from_keypoints(torch.from_numpy(keypoints[None]))[0].numpy()
    return Face(box=box, score=score, keypoints=keypoints, landmarks=None, image_size=(CANVAS, CANVAS))


def _grey(rng: np.random.Generator) -> np.ndarray:
    return np.full((CANVAS, CANVAS, 3), 128, np.uint8)


class Perfect:
    """Knows the cases by their pixels."""

    name = "perfect"

    def __init__(self, shift: float = 0.0, false: int = 0) -> None:
        self.shift, self.false = shift, false

    def analyze(self, image: torch.Tensor, threshold: float | None = None) -> list[Face]:
        red = torch.nonzero(image[0, 0] - image[0, 1] > 0.25).double()
        middle = ((red.amin(0) + red.amax(0)) / 2).flip(0).numpy()
        span = (red.amax(0) - red.amin(0))[0].item() + 1
        points = middle + (FIVE - (FIVE.min(0) + FIVE.max(0)) / 2) * span / 46
        eyes = np.linalg.norm(points[1] - points[0])
        false = [_face(FIVE / 8 + [0, 235], 0.3) for _ in range(self.false)]
        return [_face(points + np.array([self.shift * eyes, 0])), *false]

    def landmarks(self, image: torch.Tensor, rough: np.ndarray) -> np.ndarray:
        raise NotImplementedError


@pytest.mark.parametrize("height", [25, 50])
def test_case_has_the_height_asked_for_and_points_on_the_face(height):
    case = make_case(_source(), _grey(np.random.default_rng(0)), height, np.random.default_rng(height))
    assert case is not None
    box = box_from_keypoints(torch.from_numpy(case.keypoints[None]))[0]
    assert (box[3] - box[1]).item() == pytest.approx(height, rel=0.05)
    assert case.image.shape == (1, 3, CANVAS, CANVAS)
    (found,) = Perfect().analyze(case.image)
    assert point_error(found.keypoints, case.keypoints) < 1.5 / height + 0.04


def test_a_photo_is_never_enlarged_and_a_wide_one_is_cut_around_its_face():
    rng = np.random.default_rng(0)
    assert make_case(_source(), _grey(rng), 200, rng) is None
    wide = Source(image=np.tile(_source().image, (1, 8, 1)), keypoints=FIVE[None] + [5 * 192, 0])
    case = make_case(wide, _grey(rng), 50, rng)
    assert case is not None
    assert (case.keypoints >= 0).all()
    assert (case.keypoints < CANVAS).all()


def test_background_is_clear_of_faces():
    image = np.zeros((200, 400, 3), np.uint8)
    low, high = np.round(BOX).astype(int).reshape(2, 2) + np.array([220, 0])
    image[low[1] : high[1], low[0] : high[0]] = 255
    source = Source(image=image, keypoints=FIVE[None] + [220, 0])
    for seed in range(5):
        part = background_without_faces([source], np.random.default_rng(seed), 64)
        assert part.shape == (64, 64, 3)
        assert part.max() == 0
    with pytest.raises(ArgumentError, match="room beside"):
        background_without_faces([_source()], np.random.default_rng(0), 64, [np.array([[0.0, 0, 192, 192]])])


def test_judge_counts_matches_false_finds_and_doubtful_ones():
    case = Case(image=torch.zeros(1, 3, 8, 8), keypoints=FIVE, others=np.array([[300.0, 300, 340, 340]]))
    good, poor = _face(FIVE + np.array([2, 0]), 0.7), _face(FIVE + np.array([6, 0]), 0.9)
    doubtful, false = _face(FIVE * 0.4 + [280, 278], 0.8), _face(FIVE + np.array([300, 0]), 0.6)
    find = judge([good, poor, doubtful, false], case)
    assert find.score == pytest.approx(0.9)
    assert find.error == pytest.approx(6 / 32)
    assert find.false_scores == [0.6]
    missed = judge([], case)
    assert missed.score == -1
    assert np.isnan(missed.error)


def test_benchmark_of_known_analyzers():
    analyzers = {"perfect": Perfect(), "shifted": Perfect(shift=0.2), "noisy": Perfect(false=2)}
    thresholds = {"perfect": 0.5, "shifted": 0.95, "noisy": 0.2}
    rows = {(r.analyzer, r.height): r for r in benchmark(analyzers, thresholds, [_source()] * 4, _grey, (25, 50))}
    assert len(rows) == 6
    assert rows["perfect", 50].found == 1
    assert rows["perfect", 50].false_finds == 0
    assert rows["perfect", 50].error < 0.08
    assert rows["shifted", 50].found == 0, "its threshold is above its score"
    assert rows["shifted", 50].found_at_rate == 1
    assert np.isnan(rows["shifted", 50].error)
    assert rows["noisy", 25].false_finds == 2
    assert rows["noisy", 25].found_at_rate == 1, "its false finds have lower scores"


def test_rough_box_errors_measure_what_the_network_is_off_by():
    images = np.stack([_source().image] * 5)
    points = np.stack([FIVE] * 5).astype(np.float32)

    def crop_points(pictures: torch.Tensor, boxes: torch.Tensor) -> CropPoints:
        zoom = pictures.shape[-1] / 192
        truth = (torch.from_numpy(points) + 0.5) * zoom - 0.5
        shifted = truth + torch.tensor([0.1 * 32 * zoom, 0.0])
        return CropPoints(keypoints=shifted, landmarks=shifted[:, :1].expand(-1, 68, -1), spread=torch.ones(5) * zoom)

    dense = np.repeat(points[:, :1], 68, axis=1)
    for row in rough_box_errors(crop_points, images, points, dense, (3, 12)):
        assert row.five == pytest.approx(0.1, abs=1e-3)
        assert row.dense == pytest.approx(0.1, abs=1e-3)
        assert row.expected == pytest.approx(1 / 32, abs=1e-3)
    assert rough_box_errors(crop_points, images, points, None, (3,))[0].dense is None


def test_report_in_both_forms():
    rows = benchmark({"shifted": Perfect(shift=0.2)}, {"shifted": 0.95}, [_source()], _grey, (50,))
    text = markdown(rows)
    assert "| 50 | shifted | 1 | 0.000 | 0.00 | nan | nan | 1.000 |" in text
    (entry,) = json.loads(to_json(rows))["pictures"]
    assert entry["error"] is None
    assert entry["pictures"] == 1

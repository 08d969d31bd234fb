"""The compact analyzer as a whole, with tiny untrained networks and with a detector that is told the answer."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from idfsr_core.errors import ArgumentError, FileFormatError
from idfsr_core.faces.analyzer import FaceAnalyzer
from idfsr_core.faces.compact import AnalyzerNetworks, CompactAnalyzer
from idfsr_core.faces.cropping import box_from_keypoints
from idfsr_core.faces.decoding import STRIDE, encode
from idfsr_core.faces.networks import DetectorConfig, LandmarkConfig
from idfsr_core.faces.points import MIRROR_5, MIRROR_68
from tests import tiny

KEYPOINTS = torch.tensor([[60.0, 40.0], [76.0, 41.0], [68.0, 50.0], [62.0, 57.0], [75.0, 58.0]])


TINY = LandmarkConfig(crop=16, widths=(4, 6, 8, 8), hidden=8)


@pytest.fixture
def analyzer() -> CompactAnalyzer:
    torch.manual_seed(0)
    detector, landmarks = DetectorConfig(widths=(4, 6, 8, 8)), LandmarkConfig(crop=32, widths=(4, 6, 8, 8), hidden=8)
    return CompactAnalyzer(AnalyzerNetworks(detector, landmarks))


class Oracle(nn.Module):
    """Says where a red patch is, at the size of the face around it, in the level where it is 12 to 24 pixels tall."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        maps = torch.zeros(1, 15, image.shape[-2] // STRIDE, image.shape[-1] // STRIDE)
        maps[:, 0] = -9.0
        red = torch.nonzero(image[0, 0] - image[0, 1] > 0.5).float()
        if not len(red) or not 12 <= (span := red.amax(0) - red.amin(0) + 1)[0] < 24:
            return maps
        middle = red.mean(0).flip(0)
        cell = ((middle - (STRIDE - 1) / 2) / STRIDE).round().long()
        half = span.flip(0) / 2
        keypoints = middle + (KEYPOINTS - KEYPOINTS.mean(0)) / 36 * span[0]
        box = torch.cat([middle - half, middle + half])
        maps[0, 0, cell[1], cell[0]] = 3.0
        maps[0, 1:, cell[1], cell[0]] = encode(keypoints[None], box[None], cell[None])[0]
        return maps


def test_is_a_face_analyzer(analyzer):
    assert isinstance(analyzer, FaceAnalyzer)


@pytest.mark.parametrize(("width", "height", "x", "y", "side"), [(160, 120, 90, 40, 8), (300, 220, 30, 100, 90)])
def test_analyze_gives_the_place_in_the_photo(analyzer, width, height, x, y, side):
    analyzer.networks.detector = Oracle()
    image = torch.zeros(1, 3, height, width)
    image[:, 0, y : y + side, x : x + side] = 1.0
    (face,) = analyzer.analyze(image)
    assert face.image_size == (width, height)
    np.testing.assert_allclose(face.box, [x - 0.5, y - 0.5, x + side - 0.5, y + side - 0.5], atol=side * 0.12)
    assert face.landmarks is not None
    assert face.landmarks.shape == (68, 2)
    assert 0.9 < face.score < 1


def test_blank_picture_and_one_pixel_have_no_face(analyzer):
    analyzer.networks.detector = Oracle()
    for size in ((1, 1), (1, 40), (50, 70)):
        assert analyzer.analyze(torch.full((1, 3, *size), 0.3)) == []


@pytest.mark.parametrize("rough", [KEYPOINTS, torch.tensor([55.0, 20, 82, 65])], ids=["keypoints", "box"])
def test_landmarks_of_one_face(analyzer, rough):
    points = analyzer.landmarks(torch.rand(1, 3, 90, 120), rough.numpy())
    assert points.shape == (68, 2)
    assert np.isfinite(points).all()


def test_crop_landmarks_of_a_batch_are_those_of_each(analyzer):
    images = torch.rand(3, 3, 40, 50)
    boxes = torch.tensor([[5.0, 5, 20, 25], [10.0, 0, 45, 39], [-3.0, 10, 20, 60]])
    together = analyzer.crop_landmarks(images, boxes)
    alone = torch.cat([analyzer.crop_landmarks(images[i : i + 1], boxes[i : i + 1]) for i in range(3)])
    assert together.shape == (3, 68, 2)
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


def test_crop_landmarks_follow_the_picture(analyzer):
    """A picture with a wide border gives the same points, moved."""
    image = torch.rand(1, 3, 64, 64)
    box = torch.tensor([[16.0, 16, 48, 48]])
    moved = torch.nn.functional.pad(image, (8, 0, 16, 0))
    points = analyzer.crop_landmarks(image, box, passes=1)
    shifted = analyzer.crop_landmarks(moved, box + torch.tensor([8.0, 16, 8, 16]), passes=1)
    torch.testing.assert_close(shifted - points, torch.tensor([8.0, 16]).expand_as(points), atol=1e-2, rtol=0)


def test_crop_landmarks_carry_no_gradient_and_change_no_mode(analyzer):
    points = analyzer.crop_landmarks(torch.rand(1, 3, 20, 20, requires_grad=True), torch.tensor([[2.0, 2, 18, 18]]))
    assert not points.requires_grad
    assert not analyzer.networks.training
    assert not any(p.requires_grad for p in analyzer.networks.parameters())


@pytest.mark.parametrize("rough", [torch.zeros(2, 3), torch.zeros(2, 68, 2), torch.zeros(3, 4)])
def test_rough_position_of_a_wrong_shape(analyzer, rough):
    with pytest.raises(ArgumentError, match="rough position"):
        analyzer.crop_landmarks(torch.rand(2, 3, 20, 20), rough)


def test_state_round_trip_in_half_precision(analyzer):
    state, config = analyzer.state()
    half = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    again = CompactAnalyzer.from_state(half, config)
    image, box = torch.rand(2, 3, 40, 40), box_from_keypoints(KEYPOINTS[None] / 2 - 10).expand(2, -1)
    before = analyzer.crop_points(image, box)
    after = again.crop_points(image, box)
    torch.testing.assert_close(after.landmarks, before.landmarks, atol=0.05, rtol=0)
    torch.testing.assert_close(after.spread, before.spread, atol=0.05, rtol=0.05)


def test_state_with_the_network_for_tiny_pictures(analyzer):
    networks = AnalyzerNetworks(analyzer.networks.detector.config, analyzer.networks.landmarks.config, TINY)
    state, config = CompactAnalyzer(networks).state()
    again = CompactAnalyzer.from_state(state, json.loads(json.dumps(config)))
    image = torch.rand(1, 3, 5, 5)
    (face,), (same,) = CompactAnalyzer(networks).analyze(image), again.analyze(image)
    np.testing.assert_array_equal(face.keypoints, same.keypoints)


def test_state_of_another_shape_is_refused(analyzer):
    state, config = analyzer.state()
    with pytest.raises(FileFormatError, match="face analyzer"):
        CompactAnalyzer.from_state(state, {**config, "detector": {"widths": (4, 4, 4, 4)}})
    with pytest.raises(FileFormatError, match="face analyzer"):
        CompactAnalyzer.from_state({}, config)
    with pytest.raises(FileFormatError, match="face analyzer"):
        CompactAnalyzer.from_state(state, {"detector": config["detector"]})


def test_settings_out_of_range(analyzer):
    with pytest.raises(ArgumentError):
        CompactAnalyzer(analyzer.networks, min_face=0)


def test_score_is_the_calibrated_evidence(analyzer):
    analyzer.networks.detector = Oracle()
    image = torch.zeros(1, 3, 120, 160)
    image[:, 0, 40:48, 90:98] = 1.0
    (raw,) = analyzer.analyze(image)
    analyzer.networks.calibration.copy_(torch.tensor([-0.5, 0.5, 0.0, 0.2]))
    (weighed,) = analyzer.analyze(image, 0.01)
    logit = -0.5 + 0.5 * np.log(raw.score / (1 - raw.score)) + 0.2 * np.log(raw.height)
    assert weighed.score == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-4)
    analyzer.networks.calibration.copy_(torch.tensor([-20.0, 1.0, 0.0, 0.0]))
    assert analyzer.analyze(image) == []


def test_detector_unsure_beyond_recall_is_not_looked_at(analyzer):
    found = analyzer.detect(torch.rand(1, 3, 40, 40), threshold=0.999)
    assert len(found.scores) == 0


class InTheMiddle(nn.Module):
    """Sees an upright face in the middle of every crop."""

    config = LandmarkConfig(crop=32)

    def forward(self, crop: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        shape = torch.cat([KEYPOINTS, KEYPOINTS.mean(0).expand(68, 2)])
        return ((shape - KEYPOINTS.mean(0)) / 60).expand(len(crop), -1, -1), torch.full((len(crop), 73), -3.0)


@pytest.mark.parametrize(("width", "height"), [(3, 3), (4, 4), (6, 8), (8, 8)])
def test_a_picture_of_a_few_pixels_is_filled_by_its_face(analyzer, width, height):
    analyzer.networks.filling = InTheMiddle()
    analyzer.networks.detector = nn.Identity()  # must not be asked
    (face,) = analyzer.analyze(torch.rand(1, 3, height, width), threshold=1.0)
    assert face.image_size == (width, height)
    np.testing.assert_allclose(face.keypoints.mean(0), [(width - 1) / 2, (height - 1) / 2], atol=1e-4)
    assert face.keypoints[1, 0] - face.keypoints[0, 0] == pytest.approx(16 / 60 * min(width, height), rel=1e-4)
    assert 0 < face.score < 1


class Looking(InTheMiddle):
    """The same, keeping what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.Tensor] = []

    def forward(self, crop: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.seen.append(crop)
        return super().forward(crop)


def test_a_filling_face_is_read_from_the_whole_picture_and_its_mirror_image(analyzer):
    analyzer.networks.filling = net = Looking()
    image = torch.zeros(1, 3, 6, 6)
    image[..., 0, 0], image[..., 5, 5] = 1.0, 1.0
    analyzer.analyze(image)
    upright, mirrored = net.seen
    assert upright.shape == mirrored.shape == (1, 3, 32, 32)
    assert min(upright[0, 0, 0, 0], upright[0, 0, -1, -1]) > 0.9
    assert min(mirrored[0, 0, 0, -1], mirrored[0, 0, -1, 0]) > 0.9


def test_without_a_network_for_them_tiny_pictures_are_left_to_the_detector(analyzer):
    assert analyzer.networks.filling is None
    analyzer.networks.detector = Blind()
    assert analyzer.analyze(torch.rand(1, 3, 6, 6)) == []


class Blind(nn.Module):
    """A detector that finds nothing."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.full((1, 15, image.shape[-2] // STRIDE, image.shape[-1] // STRIDE), -9.0)


@pytest.mark.parametrize(("side", "count"), [(9, 1), (24, 1), (25, 0)])
def test_only_a_small_picture_without_finds_is_taken_for_a_face(analyzer, side, count):
    analyzer.networks.filling = InTheMiddle()
    analyzer.networks.detector = Blind()
    assert len(analyzer.analyze(torch.rand(1, 3, side, side))) == count


def _small_picture(x: int, y: int, side: int = 16) -> torch.Tensor:
    """A red patch of 8 pixels for :class:`Oracle`, its first pixel at (x, y)."""
    image = torch.zeros(1, 3, side, side)
    image[:, 0, y : y + 8, x : x + 8] = 1.0
    return image


@pytest.mark.parametrize(("side", "share"), [(14, 0.625), (16, 0.5), (24, 0.0)])
def test_in_a_small_picture_a_face_lies_between_find_and_filling_face(analyzer, side, share):
    """The find is a pixel to the right of the middle; the more pixels there are, the more it counts."""
    left, middle = round((side - 8) / 2) + 1, (side - 1) / 2
    analyzer.networks.landmarks = InTheMiddle()
    analyzer.networks.detector = Oracle()
    (find,) = analyzer.analyze(_small_picture(left, left - 1, side))
    analyzer.networks.filling = InTheMiddle()
    (face,) = analyzer.analyze(_small_picture(left, left - 1, side))
    assert face.score == find.score
    assert face.keypoints[:, 0].mean() == pytest.approx(
        share * middle + (1 - share) * find.keypoints[:, 0].mean(), abs=0.02
    )
    assert find.box[2] - find.box[0] != pytest.approx(face.box[2] - face.box[0], rel=0.01) or share == 0


@pytest.mark.parametrize(("bias", "middle"), [(0.0, 4.6), (-2.8, 11.5)], ids=["sure", "doubtful"])
def test_a_find_at_the_edge_of_a_small_picture_must_be_sure(analyzer, bias, middle):
    analyzer.networks.landmarks, analyzer.networks.filling = InTheMiddle(), InTheMiddle()
    analyzer.networks.detector = Oracle()
    analyzer.networks.calibration.copy_(torch.tensor([bias, 1.0, 0.0, 0.0]))
    (face,) = analyzer.analyze(_small_picture(1, 8, 24))
    assert face.keypoints[:, 0].mean() == pytest.approx(middle, abs=0.7)


def test_the_face_of_a_tiny_picture_and_of_its_mirror_image_lie_in_one_place() -> None:
    picture = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(2))
    finder = CompactAnalyzer(tiny.networks()["analyzer"])  # pyright: ignore[reportArgumentType]
    (face,), (mirrored,) = finder.analyze(picture), finder.analyze(picture.flip(-1))
    assert face.landmarks is not None
    assert mirrored.landmarks is not None
    turned = (mirrored.landmarks * [-1, 1] + [5, 0])[MIRROR_68]
    np.testing.assert_allclose(face.landmarks, turned, atol=1e-4)
    np.testing.assert_allclose(face.keypoints, (mirrored.keypoints * [-1, 1] + [5, 0])[MIRROR_5], atol=1e-4)

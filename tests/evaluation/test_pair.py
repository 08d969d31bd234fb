"""Results beside their truth."""

import numpy as np
import pytest
import torch
from torch import Tensor

from idfsr_core.bundle import Bundle, load_bundle
from idfsr_core.errors import ArgumentError, FaceNotFoundError
from idfsr_core.evaluation import pair
from idfsr_core.evaluation.metrics import psnr
from idfsr_core.evaluation.pair import PairFigures, PairReport, compare_pictures
from idfsr_core.evaluation.pair_sheet import MOST_ROWS, draw_pairs, shown
from tests import tiny
from tests.tiny import StubAnalyzer, portrait

ONE, NOBODY = StubAnalyzer((0.5, 0.5, 0.4)), StubAnalyzer()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Random tiny networks."""
    return load_bundle(tiny.write_bundle(tmp_path_factory.mktemp("bundle") / "tiny.safetensors"))


def noisy(image: Tensor, much: float, seed: int = 0) -> Tensor:
    return (image + much * torch.randn(image.shape, generator=torch.Generator().manual_seed(seed))).clamp(0, 1)


def test_a_perfect_result(bundle: Bundle) -> None:
    image = portrait(128)
    lr = torch.nn.functional.avg_pool2d(image, 8)
    (found,) = compare_pictures(image, image, lr, ONE, bundle.encoder).figures
    assert found.psnr == 100
    assert found.ssim == pytest.approx(1)
    assert found.lr_psnr == 100
    assert found.face_psnr == 100
    assert found.identity == pytest.approx(1, abs=1e-5)
    assert found.landmarks == pytest.approx(0, abs=1e-6)


def test_a_worse_result_has_worse_figures(bundle: Bundle) -> None:
    image = portrait(128)
    lr = torch.nn.functional.avg_pool2d(image, 8)
    good, bad = compare_pictures(
        torch.cat([noisy(image, 0.02), noisy(image, 0.2)]), image, lr, ONE, bundle.encoder
    ).figures
    assert good.psnr == pytest.approx(float(psnr(noisy(image, 0.02), image)), abs=1e-4)
    for name in ("psnr", "ssim", "lr_psnr", "face_psnr", "identity"):
        assert getattr(good, name) > getattr(bad, name), name


def test_landmarks_are_measured_in_eye_distances(bundle: Bundle) -> None:
    class Moved(StubAnalyzer):
        """Reads the landmarks of a bright picture five pixels to the right."""

        def landmarks(self, image, rough):
            shift = 5.0 if float(image.mean()) > 0.9 else 0.0
            return super().landmarks(image, rough) + np.array([shift, 0.0])

    finder = Moved((0.5, 0.5, 0.4))
    truth = portrait(128) * 0.5
    (found,) = compare_pictures(torch.ones_like(truth), truth, None, finder, bundle.encoder).figures
    points = finder.landmarks(truth, finder.analyze(truth)[0].keypoints)
    eyes = np.linalg.norm(points[36:42].mean(0) - points[42:48].mean(0))
    assert found.landmarks == pytest.approx(5 / eyes, rel=1e-3)


def test_without_an_analyzer_only_the_pixels_count() -> None:
    report = compare_pictures(noisy(portrait(64), 0.1), portrait(64))
    (found,) = report.figures
    assert (found.identity, found.landmarks, found.lr_psnr, found.face_psnr) == (None,) * 4
    assert report.identity == 0
    assert "identity" not in report.text()


def test_ssim_is_left_out_and_said_so_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair, "find_spec", lambda name: None)
    report = compare_pictures(portrait(64), portrait(64))
    assert report.figures[0].ssim is None
    assert "torchmetrics" in report.text()


def test_a_truth_of_another_size_is_resized_and_said_so() -> None:
    report = compare_pictures(portrait(64), portrait(192))
    assert report.figures[0].psnr > 25
    assert "from 192x192 to 64x64" in report.text()


@pytest.mark.parametrize(
    ("result", "truth", "lr", "what"),
    [
        ((1, 3, 64, 64), (1, 3, 64, 48), None, "48x64 pixels, and result is 64x64"),
        ((3, 3, 64, 64), (2, 3, 64, 64), None, "2 pictures, and result has 3"),
        ((1, 3, 64, 64), (1, 3, 64, 64), (1, 3, 128, 128), "128x128 pixels"),
        ((3, 3, 64, 64), (3, 3, 64, 64), (2, 3, 8, 8), "lr: 2 pictures"),
    ],
)
def test_what_does_not_fit_is_refused(result: tuple, truth: tuple, lr: tuple | None, what: str) -> None:
    with pytest.raises(ArgumentError, match=what):
        compare_pictures(torch.zeros(result), torch.zeros(truth), None if lr is None else torch.zeros(lr))


def test_pictures_without_a_face(bundle: Bundle) -> None:
    class Bright(StubAnalyzer):
        def analyze(self, image, threshold=None):
            return super().analyze(image) if float(image.mean()) > 0.5 else []

    finder = Bright((0.5, 0.5, 0.4))
    truth = torch.cat([torch.zeros(1, 3, 96, 96), torch.ones(1, 3, 96, 96)])
    report = compare_pictures(truth, truth, None, finder, bundle.encoder)
    assert report.figures[0].identity is None
    assert report.figures[1].identity is not None
    assert "no face in ground_truth 0" in report.text()
    with pytest.raises(FaceNotFoundError, match="ground_truth: no face found in 96x96"):
        compare_pictures(truth, truth, None, NOBODY, bundle.encoder)


def test_the_text_gives_mean_and_range() -> None:
    text = PairReport(figures=(PairFigures(psnr=20), PairFigures(psnr=30)), notes=("a note",)).text()
    assert text.splitlines() == ["2 pictures", "PSNR: 25.00 dB (20.00 to 30.00)", "a note"]
    assert PairReport(figures=(PairFigures(psnr=20),), notes=()).text() == "1 picture\nPSNR: 20.00 dB"


@pytest.mark.parametrize(("count", "rows"), [(1, 1), (5, 5), (8, 8), (500, MOST_ROWS)])
def test_a_sheet_has_a_row_a_picture_and_eight_at_most(count: int, rows: int) -> None:
    places = shown(count)
    assert len(places) == rows
    assert (places[0], places[-1]) == (0, count - 1)


def test_a_sheet_shows_the_four_pictures() -> None:
    red, green, blue = (torch.eye(3)[n].view(1, 3, 1, 1).expand(2, 3, 60, 40) for n in range(3))
    figures = [PairFigures(psnr=20, ssim=0.5, lr_psnr=30, identity=0.6, landmarks=0.02)] * 2
    sheet = draw_pairs(red, green[:1], blue[:, :, :6, :4], figures)
    assert sheet.shape[0] == 1
    colours = {tuple(colour) for colour in (sheet[0].flatten(1).T * 255).round().int().tolist()}
    assert {(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)} <= colours, "the difference of red and green is both"
    assert draw_pairs(red, green, None, figures).shape[-1] < sheet.shape[-1]

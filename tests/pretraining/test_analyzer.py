"""Training of the compact analyzer: data, losses, the loop, and the whole with tiny networks."""

import dataclasses
import json
import tarfile

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from idfsr_core.errors import ArgumentError, Cancelled, FileFormatError
from idfsr_core.faces.cropping import box_from_keypoints
from idfsr_core.faces.networks import Detector, DetectorConfig, LandmarkConfig, LandmarkNet
from idfsr_core.faces.points import five_from_dense
from idfsr_core.pretraining import analyzer as module
from idfsr_core.pretraining.analyzer import (
    AnalyzerSettings,
    detector_task,
    filling_task,
    landmark_task,
    load_analyzer,
    save_analyzer,
    train_analyzer,
)
from idfsr_core.pretraining.analyzer_calibration import fit_calibration
from idfsr_core.pretraining.analyzer_data import BOX_TO_UNIT, FacePhotos, blur, jpeg, landmark_batch, mirror, shrink
from idfsr_core.pretraining.analyzer_filling import filling_group
from idfsr_core.pretraining.analyzer_loop import LoopSettings, run_loop
from idfsr_core.pretraining.analyzer_losses import focal_loss
from idfsr_core.pretraining.analyzer_scenes import LARGE, SMALL, ScenePhotos, scene_batch
from idfsr_core.runtime import Runtime

SIDE = 192
LANDMARK = LandmarkConfig(crop=32, widths=(4, 6, 8, 8), hidden=16)
DETECTOR = DetectorConfig(widths=(4, 6, 8, 8))
FIVE = np.array([[80.0, 92.0], [112.0, 92.0], [96.0, 110.0], [82.0, 125.0], [110.0, 125.0]], np.float32)


def _dense(five: np.ndarray) -> np.ndarray:
    """68 points whose eyes, nose and mouth corners are the five."""
    points = np.repeat(five[2:3], 68, axis=0)
    angle = np.linspace(0, 2 * np.pi, 6, endpoint=False)
    ring = 3 * np.stack([-np.cos(angle), -np.sin(angle)], 1)
    points[36:42], points[42:48], points[48:68:19], points[54] = five[0] + ring, five[1] + ring, five[3], five[4]
    points[:17, 0] = np.linspace(60, 132, 17)
    points[:17, 1] = 110 + 40 * np.sin(np.linspace(0, np.pi, 17))
    return points.astype(np.float32)


def _drawn(rng: np.random.Generator, side: int = SIDE, scale: float = 1.0) -> np.ndarray:
    """A drawn face with its points at FIVE."""
    image = np.full((side, side, 3), rng.integers(0, 256, 3), np.uint8)
    centre = tuple(int(v) for v in (FIVE.mean(0) * scale))
    cv2.ellipse(image, centre, (int(36 * scale), int(48 * scale)), 0, 0, 360, (200, 160, 130), -1)
    for x, y in FIVE * scale:
        cv2.circle(image, (int(x), int(y)), max(1, int(4 * scale)), (40, 20, 20), -1)
    return image


@pytest.fixture(scope="module")
def photos() -> FacePhotos:
    rng = np.random.default_rng(0)
    images = np.stack([_drawn(rng) for _ in range(6)])
    keypoints = np.repeat(FIVE[None], 6, 0)
    landmarks = np.repeat(_dense(FIVE)[None], 6, 0)
    return FacePhotos(images=images, keypoints=keypoints, landmarks=landmarks, chosen=np.arange(5))


@pytest.fixture(scope="module")
def scenes() -> ScenePhotos:
    rng = np.random.default_rng(1)
    images = [np.pad(_drawn(rng), ((40, 90), (30, 120), (0, 0)), mode="edge") for _ in range(3)]
    points = [FIVE[None].astype(np.float64) + np.array([30, 40])] * 3
    return ScenePhotos(images=images, keypoints=points, doubtful=[np.zeros((0, 4))] * 3)


@pytest.fixture
def settings(tmp_path) -> AnalyzerSettings:
    return AnalyzerSettings(
        faces=tmp_path, scenes=tmp_path, teacher=tmp_path / "t.onnx", output=tmp_path / "out", landmark_steps=4,
        filling_steps=4, filling_batch=8, filling=LANDMARK,
        detector_steps=4, landmark_batch=8, detector_batch=4, canvas=64, save_every=2, autocast=False,
        calibration_cases=2, landmark=LANDMARK, detector=DETECTOR,
    )  # fmt: skip


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_mirrored_points_still_lie_on_the_picture(photos):
    images = torch.from_numpy(photos.images[:5]).permute(0, 3, 1, 2).float() / 255
    points = torch.from_numpy(photos.points(np.arange(5)))
    images, points, chosen = mirror(images, points, _generator(1))
    assert chosen.any()
    assert not chosen.all()
    for image, (left, right, nose, *_) in zip(images, points[:, :5], strict=True):
        assert left[0] < nose[0] < right[0]
        for x, y in (left, right, nose):
            assert image[:, int(y), int(x)].max() < 0.3, "the drawn point is dark"
    np.testing.assert_allclose(five_from_dense(points[:, 5:].numpy())[:, :2], points[:, :2], atol=1e-3)


def test_shrunk_points_still_lie_on_the_picture(photos):
    images = torch.from_numpy(photos.images[:5]).permute(0, 3, 1, 2).float() / 255
    points = torch.from_numpy(photos.points(np.arange(5)))
    low, moved = shrink(images, points, 96, _generator(1))
    assert low.shape == (5, 3, 96, 96)
    for image, face in zip(low, moved[:, :2], strict=True):
        for x, y in face:
            assert image[:, round(y.item()), round(x.item())].max() < 0.45


def test_landmark_batch_is_decided_by_its_generator(photos):
    first, again = (landmark_batch(photos, 32, 8, 2, _generator(5)) for _ in range(2))
    other = landmark_batch(photos, 32, 8, 2, _generator(6))
    assert torch.equal(first.crops, again.crops)
    assert not torch.equal(first.crops, other.crops)
    assert first.crops.shape == (8, 3, 32, 32)
    assert first.points.shape == (8, 73, 2)
    assert first.crops.min() >= 0
    assert first.crops.max() <= 1
    assert (first.points[:, :5].mean(1).abs() < 0.5).all(), "the face is in the crop"


def test_filling_batch_is_decided_by_its_generator(photos):
    first, again = (landmark_batch(photos, 32, 64, 8, _generator(5), filling_group) for _ in range(2))
    assert torch.equal(first.crops, again.crops)
    assert not torch.equal(first.crops, landmark_batch(photos, 32, 64, 8, _generator(6), filling_group).crops)
    assert first.crops.shape == (64, 3, 32, 32)
    assert (first.points[:, :5].abs() < 0.5).all(), "the face is in the picture"
    pixels = first.height / (first.unit * BOX_TO_UNIT)
    assert len(pixels.round().unique()) > 3, "pictures of several sizes"
    assert 3 <= pixels.min().round() <= pixels.max().round() <= 17
    tall = first.unit * BOX_TO_UNIT
    assert tall.max() > 1.3 * tall.min(), "wide and tight cuts"


def test_filling_points_lie_on_the_picture(photos):
    image = np.full((SIDE, SIDE, 3), 40, np.uint8)
    cv2.circle(image, (96, 110), 12, (230, 230, 230), -1)  # the nose of FIVE
    spots = dataclasses.replace(photos, images=np.stack([image] * 6))
    batch = landmark_batch(spots, 96, 64, 32, _generator(1), filling_group)
    bright = batch.crops.mean(1) - batch.crops.mean(1).flatten(1).quantile(0.5, dim=1)[:, None, None]
    bright = bright * (bright > 0.5 * bright.flatten(1).amax(1)[:, None, None])
    ticks = (torch.arange(96) + 0.5) / 96 - 0.5
    weight = bright.sum((1, 2))
    seen = torch.stack([(bright.sum(1) * ticks).sum(1) / weight, (bright.sum(2) * ticks).sum(1) / weight], 1)
    away = (seen - batch.points[:, 2]).norm(dim=1)
    assert away.median() < 0.02
    assert away.quantile(0.9) < 0.08


def test_blur_keeps_the_mean_and_jpeg_the_picture():
    image = torch.rand(2, 3, 24, 24, generator=_generator())
    smooth = blur(image, 1.2)
    assert smooth.std() < 0.6 * image.std()
    assert blur(torch.full((1, 3, 9, 9), 0.4), 1.5).sub(0.4).abs().max() < 1e-5
    assert (jpeg(smooth, 95) - smooth).abs().mean() < 0.05


def test_scene_batch_marks_the_faces_it_holds(scenes, photos):
    batch = scene_batch(scenes, photos, 96, 16, 4, _generator(2))
    assert batch.images.shape == (16, 3, 96, 96)
    assert len(batch.cells) == len(batch.boxes) == len(batch.keypoints) > 0
    height = batch.boxes[:, 3] - batch.boxes[:, 1]
    assert (height >= SMALL - 1e-3).all()
    assert (height <= LARGE + 1e-3).all()
    torch.testing.assert_close(box_from_keypoints(batch.keypoints), batch.boxes, atol=1e-3, rtol=0)
    picture, column, row = batch.cells.T
    assert (batch.heat[picture, row, column] > 0.5).all()
    middle = (batch.boxes[:, :2] + batch.boxes[:, 2:]) / 2
    reach = (middle - batch.cells[:, 1:] * 4 - 1.5).norm(dim=1)
    assert (reach < 16).all()
    again = scene_batch(scenes, photos, 96, 16, 4, _generator(2))
    assert torch.equal(batch.images, again.images)


def test_focal_loss_prefers_the_truth():
    heat = torch.zeros(1, 8, 8)
    heat[0, 3, 4] = 1.0
    counts = torch.ones_like(heat)
    right = focal_loss(heat * 12 - 6, heat, counts)
    wrong = focal_loss(heat.roll(3, -1) * 12 - 6, heat, counts)
    assert right < 0.1 * wrong
    ignored = counts.clone()
    ignored[0, 3, 7] = 0  # the false peak lies where nobody knows
    assert focal_loss(heat.roll(3, -1) * 12 - 6, heat, ignored) < wrong


@pytest.mark.parametrize("kind", ["landmarks", "filling", "detector"])
def test_one_step_reaches_every_parameter(kind, photos, scenes, settings):
    torch.manual_seed(0)
    net = Detector(DETECTOR) if kind == "detector" else LandmarkNet(LANDMARK)
    tasks = {"landmarks": landmark_task(photos, settings), "filling": filling_task(photos, settings)}
    loss = tasks.get(kind) or detector_task(scenes, photos, settings)
    losses = loss(net.train(), _generator(1))
    losses["loss"].backward()
    assert all(torch.isfinite(value) for value in losses.values())
    assert [n for n, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_landmark_net_learns(photos, settings, tmp_path):
    torch.manual_seed(0)
    net = LandmarkNet(LANDMARK)
    task = landmark_task(photos, settings)
    before = task(net, _generator(99))["dense"].item()
    run_loop(net, task, tmp_path / "net.safetensors", LoopSettings(steps=16, rate=6e-3, average=0.5), Runtime())
    assert task(net, _generator(99))["dense"].item() < 0.9 * before


class Wanderer(nn.Module):
    """The least model that the loop can train."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))


def _pull(model: nn.Module, generator: torch.Generator) -> dict[str, torch.Tensor]:
    goal = torch.randn(3, generator=generator)
    return {"loss": (model.weight - goal).square().sum()}  # pyright: ignore


def test_resumed_training_is_the_unbroken_one(tmp_path):
    whole = run_loop(Wanderer(), _pull, tmp_path / "a.safetensors", LoopSettings(steps=9, save_every=4), Runtime())
    steps = []

    def stop_at_six(done: int, total: int, image: object = None) -> None:
        steps.append(done)

    stopping = Runtime(progress=stop_at_six, cancelled=lambda: len(steps) == 6)
    settings = LoopSettings(steps=9, save_every=4)
    with pytest.raises(Cancelled):
        run_loop(Wanderer(), _pull, tmp_path / "b.safetensors", settings, stopping)
    resumed = run_loop(Wanderer(), _pull, tmp_path / "b.safetensors", settings, Runtime())
    assert torch.equal(whole.weight, resumed.weight)  # pyright: ignore
    assert (tmp_path / "a.csv").read_text().startswith("step,seconds,loss")


def test_damaged_checkpoint_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    run_loop(Wanderer(), _pull, path, LoopSettings(steps=2), Runtime())
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(FileFormatError, match="checkpoint"):
        run_loop(Wanderer(), _pull, path, LoopSettings(steps=4), Runtime())
    path.write_bytes(b"nothing")
    with pytest.raises(FileFormatError, match="checkpoint"):
        run_loop(Wanderer(), _pull, path, LoopSettings(steps=4), Runtime())


class Teacher:
    """Stands for the ONNX model of dense landmarks."""

    def __init__(self, path: object) -> None:
        self.path = path

    def landmarks(self, image: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
        assert image.shape == (SIDE, SIDE, 3)
        return _dense(keypoints)


@pytest.fixture
def data(tmp_path, photos, scenes):
    """An archive of crops and a folder of scenes on disk, both with a person of another split."""
    rows = []
    with tarfile.open(tmp_path / "faces-00.tar", "w") as tar:
        for i, image in enumerate(photos.images):
            name = f"{i}.jpg"
            cv2.imwrite(str(tmp_path / name), image[..., ::-1])
            tar.add(tmp_path / name, name)
            rows.append({"file": name, "shard": "faces-00.tar", "identity": f"p{i}", "keypoints": FIVE.tolist(),
                         "split": "val" if i == 5 else "train", "native_side": 128})  # fmt: skip
    folder = tmp_path / "faces"
    folder.mkdir()
    (tmp_path / "faces-00.tar").rename(folder / "faces-00.tar")
    (folder / "index.jsonl").write_text("\n".join(map(json.dumps, rows)))
    places = tmp_path / "scenes"
    places.mkdir()
    rows = []
    for i, (image, points) in enumerate(zip(scenes.images, scenes.keypoints, strict=True)):
        cv2.imwrite(str(places / f"{i}.jpg"), image[..., ::-1])
        faces = [{"keypoints": points[0].tolist(), "box": [0, 0, 1, 1], "score": 0.9}]
        rows.append({"file": f"{i}.jpg", "split": "val" if i == 2 else "train", "faces": faces})
    (places / "index.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder, places


def test_whole_training_resumes_and_loads(data, settings, monkeypatch):
    monkeypatch.setattr(module, "DenseLandmarkModel", Teacher)
    settings = dataclasses.replace(settings, faces=data[0], scenes=data[1])
    trained = train_analyzer(settings)
    files = {path.name for path in settings.output.iterdir()}
    assert {
        "landmarks.safetensors",
        "filling.safetensors",
        "detector.safetensors",
        "analyzer.safetensors",
        "landmarks.csv",
    } <= files
    assert len(module.load_faces(settings).chosen) == 5, "the person of the other split stays out"
    assert len(module.load_scenes(settings).images) == 2
    loaded = load_analyzer(settings.output / "analyzer.safetensors")
    image, box = torch.rand(1, 3, 60, 60), torch.tensor([[10.0, 10, 50, 50]])
    torch.testing.assert_close(loaded.crop_landmarks(image, box), trained.crop_landmarks(image, box), atol=0.5, rtol=0)
    again = train_analyzer(settings)  # nothing is left to do
    for name, value in trained.networks.state_dict().items():
        assert torch.equal(value, again.networks.state_dict()[name]), name


def test_files_that_are_no_analyzer(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"{}")
    for name in ("a.safetensors", "missing.safetensors"):
        with pytest.raises(FileFormatError, match="analyzer"):
            load_analyzer(tmp_path / name)
    with pytest.raises(ArgumentError):
        save_analyzer(tmp_path / "b.safetensors", Wanderer())


def test_scenes_without_an_index(settings):
    with pytest.raises(FileFormatError, match=r"no index\.jsonl"):
        module.load_scenes(settings)


@pytest.mark.parametrize("wrong", [{"landmark_batch": 0}, {"filling_batch": 0}, {"detector_batch": -1}])
def test_settings_out_of_range(settings, wrong):
    with pytest.raises(ArgumentError):
        dataclasses.replace(settings, **wrong)


def test_calibration_finds_what_tells_faces_apart():
    rng = np.random.default_rng(0)
    labels = rng.random(600) < 0.4
    logit = rng.normal(0, 1, 600)  # the detector says nothing
    spread = np.where(labels, -2.5, -1.5) + rng.normal(0, 0.3, 600)  # the second network does
    rows = np.stack([np.ones(600), logit, spread, rng.normal(2, 1, 600)], 1)
    weights = fit_calibration(rows, labels)
    assert np.isfinite(weights).all()
    assert weights[2] < -2
    assert (((rows @ weights) > 0) == labels).mean() > 0.9


def test_calibration_without_candidates_leaves_the_score():
    assert fit_calibration(np.zeros((0, 4)), np.zeros(0, bool)).tolist() == [0, 1, 0, 0]


def test_cleanly_parted_candidates_give_finite_weights():
    rows = np.stack([np.ones(8), np.r_[np.full(4, -3.0), np.full(4, 3.0)], np.zeros(8), np.zeros(8)], 1)
    weights = fit_calibration(rows, np.arange(8) >= 4)
    assert np.isfinite(weights).all()
    assert weights[1] > 0

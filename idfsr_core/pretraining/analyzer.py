"""Train the compact analyzer's networks, one after another, on degraded copies of photos whose faces are known."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..errors import ArgumentError, FileFormatError
from ..faces.compact import AnalyzerNetworks, CompactAnalyzer
from ..faces.cropping import box_from_keypoints, face_unit
from ..faces.decoding import overlap
from ..faces.dense_onnx import DenseLandmarkModel
from ..faces.insight import InsightFaceAnalyzer
from ..faces.networks import Detector, DetectorConfig, LandmarkConfig, LandmarkNet
from ..faces.points import five_from_dense
from ..images import atomic_path, read_image, to_uint8
from ..runtime import Runtime
from .analyzer_calibration import calibrate, calibration_cases
from .analyzer_data import FacePhotos, Group, landmark_batch
from .analyzer_filling import filling_group
from .analyzer_loop import LoopSettings, run_loop
from .analyzer_losses import detector_loss, landmark_loss
from .analyzer_scenes import ScenePhotos, scene_batch
from .data import FaceLibrary, read_archive

WORST_TEACHER = 0.25  # a photo goes when dense and five-point model differ by more than this part of the face's unit
FILLING = LandmarkConfig(crop=32, widths=(24, 40, 56, 72), hidden=112)  # sees a few pixels, enlarged
DOUBT = 0.25  # a detector's score from which on there may be a further face


@dataclass(frozen=True, kw_only=True)
class AnalyzerSettings:
    """Where the photos and teachers lie, and how long to train."""

    faces: Path  # archive of aligned crops (index.jsonl and tar files); its "train" people are used
    scenes: Path  # folder of whole photos with index.jsonl; its "train" photos are used
    teacher: Path  # ONNX model of 68 landmarks
    output: Path  # checkpoints, logs, cache and the result
    pack: Path | None = None  # insightface pack that looks for further, unlisted faces
    split: str = "train"
    landmark_steps: int = 2000
    filling_steps: int = 14000
    detector_steps: int = 3000
    landmark_batch: int = 128
    filling_batch: int = 128
    detector_batch: int = 32
    canvas: int = 160  # side of the detector's training pictures
    calibration_cases: int = 240  # pictures from which the score is calibrated
    seed: int = 0
    autocast: bool = True  # bfloat16 where it pays
    save_every: int = 200
    landmark: LandmarkConfig = field(default_factory=LandmarkConfig)
    filling: LandmarkConfig = FILLING
    detector: DetectorConfig = field(default_factory=DetectorConfig)

    def __post_init__(self) -> None:
        for name in ("landmark_batch", "filling_batch", "detector_batch"):
            if getattr(self, name) < 1:
                raise ArgumentError(f"AnalyzerSettings.{name}", getattr(self, name), "use one picture or more")


def train_analyzer(settings: AnalyzerSettings, runtime: Runtime | None = None) -> CompactAnalyzer:
    """Train all networks, going on where an earlier run stopped; writes ``output/analyzer.safetensors``."""
    runtime = runtime or Runtime()
    faces = load_faces(settings)
    torch.manual_seed(settings.seed)
    landmarks = LandmarkNet(settings.landmark)
    filling = LandmarkNet(settings.filling)
    detector = Detector(settings.detector)
    run_loop(landmarks, landmark_task(faces, settings), settings.output / "landmarks.safetensors",
             _loop(settings, settings.landmark_steps), runtime)  # fmt: skip
    run_loop(filling, filling_task(faces, settings), settings.output / "filling.safetensors",
             _loop(settings, settings.filling_steps), runtime)  # fmt: skip
    scenes = load_scenes(settings)
    run_loop(detector, detector_task(scenes, faces, settings), settings.output / "detector.safetensors",
             _loop(settings, settings.detector_steps), runtime)  # fmt: skip
    networks = AnalyzerNetworks(settings.detector, settings.landmark, settings.filling)
    networks.landmarks.load_state_dict(landmarks.state_dict())
    networks.filling = filling
    networks.detector.load_state_dict(detector.state_dict())
    analyzer = CompactAnalyzer(networks, runtime)
    calibrate(analyzer, calibration_cases(scenes, faces, settings.calibration_cases, settings.seed))
    save_analyzer(settings.output / "analyzer.safetensors", networks)
    return analyzer


def _loop(settings: AnalyzerSettings, steps: int) -> LoopSettings:
    return LoopSettings(steps=steps, seed=settings.seed, save_every=settings.save_every)


def landmark_task(faces: FacePhotos, settings: AnalyzerSettings):
    """The loss of one step of the landmark network, as the loop wants it."""
    return _points_task(faces, settings.landmark.crop, settings.landmark_batch, settings.autocast)


def filling_task(faces: FacePhotos, settings: AnalyzerSettings):
    """The loss of one step of the network for tiny pictures, as the loop wants it."""
    return _points_task(faces, settings.filling.crop, settings.filling_batch, settings.autocast, filling_group)


def _points_task(faces: FacePhotos, crop: int, count: int, autocast: bool, group: Group | None = None):
    def loss(model: nn.Module, generator: torch.Generator) -> dict[str, Tensor]:
        batch = landmark_batch(faces, crop, count, max(1, count // 16), generator, group)
        return landmark_loss(model, batch, autocast)

    return loss


def detector_task(scenes: ScenePhotos, faces: FacePhotos, settings: AnalyzerSettings):
    """The loss of one step of the detector, as the loop wants it."""
    groups = max(1, settings.detector_batch // 4)

    def loss(model: nn.Module, generator: torch.Generator) -> dict[str, Tensor]:
        batch = scene_batch(scenes, faces, settings.canvas, settings.detector_batch, groups, generator)
        return detector_loss(model, batch, settings.autocast)

    return loss


def save_analyzer(path: Path, networks: nn.Module) -> None:
    """All networks in half precision with their configuration, in one safetensors file."""
    if not isinstance(networks, AnalyzerNetworks):
        raise ArgumentError("networks", type(networks).__name__, "give AnalyzerNetworks")
    half = lambda value: value.half() if value.is_floating_point() else value
    tensors = {name: half(value.detach()).contiguous() for name, value in networks.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={"analyzer": json.dumps(networks.config())})


def load_analyzer(path: Path, runtime: Runtime | None = None) -> CompactAnalyzer:
    """What :func:`save_analyzer` wrote.

    Raises:
        FileFormatError: the file is damaged or of another kind.
    """
    try:
        with safe_open(str(path), "pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            config: Mapping = json.loads(file.metadata()["analyzer"])
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise FileFormatError(f"analyzer {path}", "damaged or no analyzer", "train it again") from error
    return CompactAnalyzer.from_state(state, config, runtime)


class LazyPhotos:
    """The pixels of a library, decoded when they are asked for: by number [S, S, 3] or by numbers [n, S, S, 3]."""

    def __init__(self, library: FaceLibrary) -> None:
        self._library = library

    def __getitem__(self, index: int | np.ndarray) -> np.ndarray:
        if isinstance(index, np.ndarray):
            return np.stack([self._library.photo(int(i)) for i in index])
        return self._library.photo(int(index))


def load_faces(settings: AnalyzerSettings) -> FacePhotos:
    """The archive's crops with dense landmarks by the teacher, which are computed once and kept in ``output/cache``."""
    library = read_archive(settings.faces, settings.split)
    path = settings.output / "cache" / f"landmarks-{settings.split}.npy"
    landmarks = np.load(path, allow_pickle=False) if path.is_file() else _teach(library, settings.teacher, path)
    if len(landmarks) != len(library):
        raise FileFormatError(f"cache {path}", f"{len(landmarks)} photos instead of {len(library)}", "delete it")
    apart = five_from_dense(landmarks) - library.keypoints
    apart = np.linalg.norm(apart - np.median(apart, axis=0), axis=-1).max(1)
    unit = face_unit(torch.from_numpy(library.keypoints)).numpy()
    return FacePhotos(
        images=LazyPhotos(library), keypoints=library.keypoints, landmarks=landmarks,
        chosen=np.flatnonzero(apart < WORST_TEACHER * unit),
    )  # fmt: skip


def _teach(library: FaceLibrary, teacher: Path, path: Path) -> np.ndarray:
    model = DenseLandmarkModel(teacher)
    landmarks = np.stack([model.landmarks(library.photo(i), library.keypoints[i]) for i in range(len(library))])
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.save(file, landmarks, allow_pickle=False)
    return landmarks


def load_scenes(settings: AnalyzerSettings) -> ScenePhotos:
    """The whole photos of the split with their listed faces; a pack, if given, tells where others may be."""
    index = settings.scenes / "index.jsonl"
    if not index.is_file():
        raise FileFormatError(f"scenes {settings.scenes}", "no index.jsonl", "name the folder that holds it")
    rows = [row for row in map(json.loads, index.read_text().splitlines()) if row["split"] == settings.split]
    finder = InsightFaceAnalyzer(settings.pack, thorough=True) if settings.pack else None
    images, keypoints, doubtful = [], [], []
    for row in rows:
        picture = read_image(settings.scenes / row["file"])
        images.append(to_uint8(picture))
        known = np.array([face["keypoints"] for face in row["faces"]], np.float64).reshape(-1, 5, 2)
        keypoints.append(known)
        doubtful.append(_unlisted(finder, picture, known) if finder else np.zeros((0, 4)))
    return ScenePhotos(images=images, keypoints=keypoints, doubtful=doubtful)


def _unlisted(finder: InsightFaceAnalyzer, picture: Tensor, known: np.ndarray) -> np.ndarray:
    boxes = np.array([face.box for face in finder.analyze(picture, DOUBT)], np.float64).reshape(-1, 4)
    if not len(boxes):
        return boxes
    listed = box_from_keypoints(torch.from_numpy(known))
    return boxes[overlap(torch.from_numpy(boxes), listed).amax(1).numpy() < 0.3]


def use_one_thread() -> None:
    """Keep torch and OpenCV to one thread, for machines whose cores are shared."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)

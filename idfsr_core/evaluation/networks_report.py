"""The bundle's face finder and identity encoder, each beside the models that taught it or that people use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..faces.compact import THRESHOLD
from ..faces.dense_onnx import DenseLandmarkModel
from ..images import atomic_path, to_tensor
from ..pretraining.data import FaceLibrary, read_archive
from ..runtime import Runtime
from . import analyzer as faces_found
from .opening import ENCODER_PATHS, LANDMARK_MODEL, Sources, open_encoders
from .verification import verification_json, verification_table, verify

if TYPE_CHECKING:
    from ..bundle import Bundle
    from ..faces.analyzer import FaceAnalyzer
    from ..identity.encoders import IdentityEncoder

YUNET = "face_detection_yunet_2023mar.onnx"
DOUBTFUL = 0.15  # a background must not even hold what the insightface pack takes for a face with this little score
Say = Callable[[str], None]


def measure_analyzer(
    bundle: Bundle, sources: Sources, folder: Path, runtime: Runtime, *, photos: int = 200, say: Say = print
) -> list[Path]:
    """The compact analyzer against an insightface pack and YuNet; writes ``analyzer.md`` and ``analyzer.json``.

    Args:
        bundle: holds the analyzer.
        sources: photos, scenes beside them, and models.
        folder: where the tables go.
        runtime: where the insightface pack runs.
        photos: of the archive; all its scenes are used as well.
    """
    from ..faces.insight import InsightFaceAnalyzer
    from ..faces.yunet import YuNetAnalyzer

    pack = InsightFaceAnalyzer(sources.weights / ENCODER_PATHS["edge_xs"], runtime)
    analyzers: dict[str, FaceAnalyzer] = {
        "compact": bundle.analyzer,
        "SCRFD-500M": pack,
        "YuNet": YuNetAnalyzer(sources.weights / YUNET),
    }
    thresholds = {"compact": THRESHOLD, "SCRFD-500M": 0.5, "YuNet": 0.6}
    library = read_archive(sources.faces, sources.split)
    chosen = _spread(library, photos)
    images = np.stack([library.photo(index) for index in chosen])
    rows = faces_found.benchmark(
        analyzers, thresholds, *_pictures(images, library.keypoints[chosen], sources, pack), progress=say
    )
    reader = DenseLandmarkModel(sources.weights / LANDMARK_MODEL)
    pairs = zip(images, library.keypoints[chosen], strict=True)
    dense = np.stack([reader.landmarks(np.ascontiguousarray(image), points) for image, points in pairs])
    boxes = faces_found.rough_box_errors(bundle.analyzer.crop_points, images, library.keypoints[chosen], dense)
    return _write(folder, "analyzer", faces_found.markdown(rows, boxes), faces_found.to_json(rows, boxes))


def _spread(library: FaceLibrary, count: int) -> list[int]:
    """Photos of as many people as possible: the first of each, then the second of each, and so on."""
    people = library.people()
    rounds = [int(person[turn]) for turn in range(max(map(len, people))) for person in people if turn < len(person)]
    return rounds[:count]


def _pictures(
    images: np.ndarray, keypoints: np.ndarray, sources: Sources, pack: FaceAnalyzer
) -> tuple[list[faces_found.Source], Callable[[np.random.Generator], np.ndarray]]:
    """What is looked for, and the backgrounds it is laid on: the scenes' parts without a face."""
    scenes = faces_found.scene_sources(sources.faces.parent / "scenes", sources.split)
    doubtful = [_boxes(pack, scene.image) for scene in scenes]
    found = [faces_found.Source(image=i, keypoints=k[None]) for i, k in zip(images, keypoints, strict=True)]
    return [*found, *scenes], lambda rng: faces_found.background_without_faces(scenes, rng, doubtful=doubtful)


def _boxes(pack: FaceAnalyzer, image: np.ndarray) -> np.ndarray:
    boxes = [face.box for face in pack.analyze(to_tensor(image), DOUBTFUL)]
    return np.stack(boxes) if boxes else np.zeros((0, 4), np.float32)


def measure_encoder(
    bundle: Bundle, sources: Sources, folder: Path, runtime: Runtime, *, names: tuple[str, ...], say: Say = print
) -> list[Path]:
    """The compact encoder against its teacher and others; writes ``encoder.md`` and ``encoder.json``.

    Args: as for :func:`measure_analyzer`; ``names`` are those of :func:`open_encoders`.
    """
    library = read_archive(sources.faces, sources.split)
    encoders: Mapping[str, IdentityEncoder] = {
        "compact": bundle.encoder,
        **open_encoders(names, sources.weights, runtime),
    }
    results = []
    for name, encoder in encoders.items():
        results += verify({name: encoder}, library)
        say(f"{name}: {len(library)} photos")
    return _write(folder, "encoder", verification_table(results), verification_json(results))


def _write(folder: Path, name: str, table: str, values: str) -> list[Path]:
    paths = [folder / f"{name}.md", folder / f"{name}.json"]
    for path, text in zip(paths, (table, values), strict=True):
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return paths

"""Any insightface model pack as a face analyzer. insightface and onnxruntime are imported when one is opened."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch

from ..errors import FileFormatError, MissingPackageError
from ..runtime import Runtime
from .cropping import box_from_keypoints
from .decoding import Found, merge
from .dense_onnx import model_errors
from .face import Face

if TYPE_CHECKING:
    from torch import Tensor

    from .dense_onnx import DenseLandmarkModel

SIZES = (640, 320, 224)  # SCRFD misses faces that fill the frame at 640 and finds them at 224
ENLARGED = 1280  # and tiny ones when the picture is enlarged
BORDER = 0.5  # of the longer side, put around the picture when nothing else helps
LANDMARK_TASK = "landmark_3d_68"


class InsightFaceAnalyzer:
    """Detector, and 68 landmarks where the pack has a model for them.

    Args:
        folder: a pack: ``NAME/*.onnx``, or ``NAME/NAME/*.onnx`` as some archives unpack.
        runtime: its device decides the execution provider.
        dense: a separate 68-point model, for packs without one.
        thorough: look at every size and merge what is found, the points of the largest size first, instead of
            stopping at the first success.

    Raises:
        MissingPackageError: insightface or onnxruntime is not installed, or the folder holds no detector.
        FileFormatError: a model file is damaged.
    """

    def __init__(
        self,
        folder: str | Path,
        runtime: Runtime | None = None,
        *,
        dense: DenseLandmarkModel | None = None,
        thorough: bool = False,
    ) -> None:
        self.folder = pack_folder(folder)
        self.name = f"insightface:{self.folder.name}"
        self.dense, self.thorough = dense, thorough
        models = _open_models(self.folder, providers_for(runtime or Runtime()))
        if "detection" not in models:
            raise MissingPackageError(f"model pack {self.folder}", "no face detector", "use a pack that has one")
        self._detector = models["detection"]
        self._landmarks = models.get(LANDMARK_TASK)
        self._detector.prepare(ctx_id=0 if (runtime or Runtime()).device.startswith("cuda") else -1)

    def analyze(self, image: Tensor, threshold: float | None = None) -> list[Face]:
        """Every face with a score of at least ``threshold`` (0..1, default 0.5), best first."""
        pixels = _to_bgr(image)
        found = self._search(pixels, 0.5 if threshold is None else threshold)
        size = (pixels.shape[1], pixels.shape[0])
        return [self._face(pixels, found, i, size) for i in range(len(found.scores))]

    def landmarks(self, image: Tensor, rough: np.ndarray) -> np.ndarray:
        """68 landmarks [68, 2] around a box [4] or five keypoints [5, 2], in pixels of ``image`` [1, 3, H, W].

        Raises:
            MissingPackageError: neither the pack nor ``dense`` offers a 68-point model.
        """
        points = self._dense(_to_bgr(image), np.asarray(rough, np.float32))
        if points is None:
            raise MissingPackageError(
                f"model pack {self.folder}", "no 68-point landmark model", "use another pack or the compact analyzer"
            )
        return points

    def _search(self, pixels: np.ndarray, threshold: float) -> Found:
        parts = []
        border = round(BORDER * max(pixels.shape[:2]))
        looks = [*((size, 0) for size in SIZES), (320, border), (ENLARGED, 0)]
        if self.thorough:
            looks.sort(key=lambda look: -look[0])
        for size, pad in looks:
            part = self._detect(pixels, size, pad, threshold)
            if len(part.scores):
                parts.append(part)
                if not self.thorough:
                    break
        if not parts:
            return Found(scores=torch.zeros(0), boxes=torch.zeros(0, 4), keypoints=torch.zeros(0, 5, 2))
        return merge(parts)

    def _detect(self, pixels: np.ndarray, size: int, pad: int, threshold: float) -> Found:
        if pad:
            pixels = cv2.copyMakeBorder(pixels, pad, pad, pad, pad, cv2.BORDER_CONSTANT)
        self._detector.det_thresh = threshold
        boxes, points = self._detector.detect(pixels, input_size=(size, size))
        if points is None:
            raise MissingPackageError(f"model pack {self.folder}", "a detector without keypoints", "use another pack")
        boxes = torch.from_numpy(np.asarray(boxes, np.float32).reshape(-1, 5))
        points = torch.from_numpy(np.asarray(points, np.float32).reshape(-1, 5, 2))
        # insightface divides by the zoom as if pixels were counted from their edges: half a pixel off when enlarged.
        shift = 0.5 * max(pixels.shape[:2]) / size - 0.5 - pad
        return Found(scores=boxes[:, 4].clamp(0, 1), boxes=boxes[:, :4] + shift, keypoints=points + shift)

    def _face(self, pixels: np.ndarray, found: Found, i: int, size: tuple[int, int]) -> Face:
        keypoints = found.keypoints[i].numpy()
        return Face(
            box=found.boxes[i].numpy(), score=float(found.scores[i]), keypoints=keypoints,
            landmarks=self._dense(pixels, keypoints, found.boxes[i].numpy()), image_size=size,
        )  # fmt: skip

    def _dense(self, pixels: np.ndarray, rough: np.ndarray, box: np.ndarray | None = None) -> np.ndarray | None:
        if self._landmarks is not None:
            if box is None:
                box = rough if rough.ndim == 1 else box_from_keypoints(torch.from_numpy(rough)[None])[0].numpy()
            from insightface.app.common import Face as Record

            return np.asarray(self._landmarks.get(pixels, Record(bbox=box)), np.float32)[:, :2]
        if self.dense is None:
            return None
        keypoints = rough if rough.ndim == 2 else _keypoints_in(rough)
        return self.dense.landmarks(np.ascontiguousarray(pixels[..., ::-1]), keypoints)


def pack_folder(folder: str | Path) -> Path:
    """The folder that holds the pack's ONNX files: ``folder`` itself, or the only one inside it that has any.

    Raises:
        MissingPackageError: there are none.
    """
    folder = Path(folder)
    inner = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    same_name = [path for path in inner if path.name == folder.name]
    for place in [folder, *same_name, *inner]:
        if place.is_dir() and any(place.glob("*.onnx")):
            return place
    remedy = "unpack an insightface model pack there (a folder with .onnx files)"
    raise MissingPackageError(f"model pack {folder}", "no .onnx file" if folder.is_dir() else "no such folder", remedy)


def providers_for(runtime: Runtime) -> list[str]:
    """onnxruntime's execution providers for a device, the preferred one first; only those that are installed."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingPackageError("package onnxruntime", "not installed", "pip install onnxruntime") from error
    own = {"cuda": ["CUDAExecutionProvider"], "mps": ["CoreMLExecutionProvider"]}.get(runtime.device.split(":")[0], [])
    return [p for p in (*own, "CPUExecutionProvider") if p in onnxruntime.get_available_providers()]


def _open_models(folder: Path, providers: list[str]) -> dict[str, Any]:
    """The detector and the landmark model of a pack, by task; encoders and others are not loaded into the result."""
    try:
        from google.protobuf.message import DecodeError  # comes with onnx, which insightface needs
        from insightface.model_zoo import get_model
    except ImportError as error:
        raise MissingPackageError("package insightface", "not installed", "pip install insightface") from error
    models: dict[str, Any] = {}
    for path in sorted(folder.glob("*.onnx")):
        try:
            model: Any = get_model(str(path), providers=providers)
        except (DecodeError, *model_errors()) as error:
            raise FileFormatError(f"model {path}", type(error).__name__, "unpack the model pack again") from error
        if model is not None:
            models.setdefault(model.taskname, model)
    return models


def _keypoints_in(box: np.ndarray) -> np.ndarray:
    """Five keypoints where a frontal face has them in its box: a start for a model that needs them."""
    place = np.array([[0.27, 0.41], [0.73, 0.41], [0.5, 0.61], [0.31, 0.77], [0.69, 0.77]], np.float32)
    return box[:2] + place * (box[2:] - box[:2])


def _to_bgr(image: Tensor) -> np.ndarray:
    """uint8 [H, W, 3] BGR of a picture [1, 3, H, W] RGB in 0..1."""
    pixels = (image[0].detach().float().cpu().clamp(0, 1) * 255).round().to(torch.uint8)
    return np.ascontiguousarray(pixels.permute(1, 2, 0).numpy()[..., ::-1])

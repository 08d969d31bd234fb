"""YuNet through OpenCV (``cv2.FaceDetectorYN``) as a face analyzer: five keypoints, no dense landmarks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from ..errors import FileFormatError, MissingPackageError
from .decoding import Found, merge
from .face import Face

if TYPE_CHECKING:
    from torch import Tensor


class YuNetAnalyzer:
    """Looks at the picture enlarged by ``zooms`` and merges what it finds, the points of the first zoom first.

    Raises:
        MissingPackageError: there is no such file.
        FileFormatError: OpenCV cannot read it.
    """

    name = "yunet"

    def __init__(self, path: str | Path, zooms: tuple[float, ...] = (4.0, 2.0, 1.0), longest: int = 1600) -> None:
        if not Path(path).is_file():
            raise MissingPackageError(f"detector {path}", "no such file", "give the path of YuNet's ONNX file")
        try:
            self._net = cv2.FaceDetectorYN.create(str(path), "", (320, 320), 0.5, 0.3, 1000)
        except cv2.error as error:
            raise FileFormatError(f"detector {path}", "not readable", "give YuNet's ONNX file") from error
        self._zooms, self._longest = zooms, longest

    def analyze(self, image: Tensor, threshold: float | None = None) -> list[Face]:
        """Every face of ``image`` [1, 3, H, W] with a score of at least ``threshold`` (default 0.6), best first."""
        pixels = (image[0].float().cpu().clamp(0, 1) * 255).round().to(torch.uint8)
        pixels = np.ascontiguousarray(pixels.permute(1, 2, 0).numpy()[..., ::-1])
        self._net.setScoreThreshold(0.6 if threshold is None else threshold)
        found = merge([_found(self._detect(pixels, zoom)) for zoom in self._zooms])
        size = (pixels.shape[1], pixels.shape[0])
        return [
            Face(box=b.numpy(), score=float(s), keypoints=k.numpy(), landmarks=None, image_size=size)
            for s, b, k in zip(found.scores, found.boxes, found.keypoints, strict=True)
        ]

    def landmarks(self, image: Tensor, rough: np.ndarray) -> np.ndarray:
        """YuNet has none.

        Raises:
            MissingPackageError: always.
        """
        raise MissingPackageError("YuNet", "no 68-point landmarks", "use the compact analyzer")

    def _detect(self, pixels: np.ndarray, zoom: float) -> np.ndarray:
        zoom = min(zoom, self._longest / max(pixels.shape[:2]))
        width, height = (max(1, round(side * zoom)) for side in pixels.shape[1::-1])
        self._net.setInputSize((width, height))
        large = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_CUBIC if zoom > 1 else cv2.INTER_AREA)
        _, rows = self._net.detect(large)
        rows = np.zeros((0, 15), np.float32) if rows is None else np.asarray(rows, np.float32)
        rows[:, :14] /= np.tile([width / pixels.shape[1], height / pixels.shape[0]], 7).astype(np.float32)
        # The network's points are those of pixel edges; ours are of pixel centres.
        rows[:, [0, 1, *range(4, 14)]] += 0.5 / zoom - 0.5
        return rows


def _found(rows: np.ndarray) -> Found:
    """OpenCV's rows [N, 15]: x, y, width, height, ten coordinates of keypoints, score."""
    return Found(
        scores=torch.from_numpy(rows[:, 14].copy()).clamp(0, 1),
        boxes=torch.from_numpy(np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], 1)),
        keypoints=torch.from_numpy(rows[:, 4:14].reshape(-1, 5, 2).copy()),
    )

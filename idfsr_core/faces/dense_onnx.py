"""Dense landmarks from an ONNX model of the PFLD family (68 points): the teacher of the compact analyzer.

The only module that runs such a model; onnxruntime is imported when one is opened.
"""

from __future__ import annotations

import importlib
from pathlib import Path

import cv2
import numpy as np

from ..errors import FileFormatError, MissingPackageError
from .points import LANDMARKS, MIRROR_68

CROP = 112  # side of the model's input
SIZES = (2.7, 3.1)  # side of the square crop over the larger of eye distance and eye-to-mouth distance
DROP = 0.02  # the crop's centre lies this part of its side below the mean keypoint


class DenseLandmarkModel:
    """A 68-point model: input [1, 3, 112, 112] RGB in 0..1, output 68 x (x, y) as fractions of the crop.

    One view leans to one side by some percent of the eye distance, so each face is seen in two crop sizes, each of
    them mirrored as well, and the four answers are averaged.

    Raises:
        MissingPackageError: onnxruntime or the file is absent.
        FileFormatError: the file is no such model.
    """

    def __init__(self, path: str | Path, threads: int = 1) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingPackageError("package onnxruntime", "not installed", "pip install onnxruntime") from error
        if not Path(path).is_file():
            raise MissingPackageError(
                f"landmark model {path}", "no such file", "give the path of a 68-point ONNX model"
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except model_errors() as error:
            raise FileFormatError(f"landmark model {path}", "not readable", "give a 68-point ONNX model") from error
        self._input = self._session.get_inputs()[0].name

    def landmarks(self, image: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
        """Dense landmarks [68, 2] in pixels of ``image`` (uint8 [H, W, 3] RGB) around ``keypoints`` [5, 2]."""
        views = [self._view(image, keypoints, size, mirror) for size in SIZES for mirror in (False, True)]
        return np.stack(views).mean(axis=0).astype(np.float32)

    def _view(self, image: np.ndarray, keypoints: np.ndarray, size: float, mirror: bool) -> np.ndarray:
        matrix = _crop_matrix(keypoints, size, mirror)
        crop = cv2.warpAffine(image, matrix, (CROP, CROP), flags=cv2.INTER_LINEAR).astype(np.float32) / 255
        outputs = self._session.run(None, {self._input: crop.transpose(2, 0, 1)[None]})
        points = next((o for o in map(np.asarray, outputs) if o.size == 2 * LANDMARKS), None)
        if points is None:
            raise FileFormatError("landmark model", "no output of 68 points", "give a 68-point ONNX model")
        back = cv2.invertAffineTransform(matrix)
        points = points.reshape(LANDMARKS, 2) * CROP @ back[:, :2].T + back[:, 2]
        return points[MIRROR_68] if mirror else points


def model_errors() -> tuple[type[Exception], ...]:
    """What a damaged model file makes onnxruntime raise: its classes share no base but Exception."""
    state = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    names = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NoModel", "NotImplemented")
    own = [getattr(state, name) for name in (*names, "RuntimeException") if hasattr(state, name)]
    return (*own, RuntimeError, ValueError, OSError, KeyError, IndexError, AssertionError, AttributeError, TypeError)


def _crop_matrix(keypoints: np.ndarray, size: float, mirror: bool) -> np.ndarray:
    """Picture -> crop, 2x3: an upright square around five keypoints, mirrored about its middle if asked."""
    keypoints = np.asarray(keypoints, np.float32)
    eyes, mouth = keypoints[:2].mean(0), keypoints[3:].mean(0)
    side = size * max(np.linalg.norm(keypoints[1] - keypoints[0]), np.linalg.norm(eyes - mouth), 1e-3)
    left, top = keypoints.mean(0) - side / 2 + np.array([0, DROP * side])
    zoom = CROP / side
    if mirror:
        return np.array([[-zoom, 0, (left + side) * zoom - 0.5], [0, zoom, -top * zoom - 0.5]], np.float32)
    return np.array([[zoom, 0, -left * zoom - 0.5], [0, zoom, -top * zoom - 0.5]], np.float32)

"""ONNX recognition models as identity encoders: insightface packs and single files.

The only module that runs such a model; insightface and onnxruntime are imported when one is opened.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..errors import FileFormatError, MissingPackageError
from ..faces.dense_onnx import model_errors
from ..faces.insight import pack_folder, providers_for
from ..runtime import Runtime
from .aligning import align_faces
from .encoders import Embedded
from .hashing import file_hash
from .network import FACE_SIZE

_TASK = "recognition"
_FRAME = 20  # pixels at each border of the aligned face in which sharpness is not looked for: hair and background
_HALF_QUALITY = 0.04  # detail over contrast of a face that keeps half of its likeness


class OnnxEncoder:
    """A recognition model in one ONNX file, for ArcFace-aligned faces of 112x112 pixels.

    insightface's own class reads from the graph whether the model normalises its input itself: graphs that begin by
    subtracting and multiplying get RGB in 0..255, all others (RGB - 127.5) / 127.5.

    Args:
        path: the file.
        runtime: its device decides the execution provider.

    Raises:
        MissingPackageError: insightface or onnxruntime is not installed, or there is no such file.
        FileFormatError: the file is damaged or no recognition model.
    """

    def __init__(self, path: Path | str, runtime: Runtime | None = None) -> None:
        path = Path(path)
        if not path.is_file():
            raise MissingPackageError(f"encoder {path}", "no such file", "give the path of an ONNX recognition model")
        model = _open(path, providers_for(runtime or Runtime()))
        if model is None or model.taskname != _TASK or tuple(model.input_size) != (FACE_SIZE, FACE_SIZE):
            task = getattr(model, "taskname", "unknown task")
            raise FileFormatError(f"encoder {path}", task, "give a recognition model for faces of 112x112 pixels")
        self._model = model
        self._batch = model.input_shape[0] if isinstance(model.input_shape[0], int) else None
        self.name = path.stem
        self.hash = file_hash(path)
        self.dim = self._run(np.zeros((1, 3, FACE_SIZE, FACE_SIZE), np.float32)).shape[1]

    def embed(self, image: Tensor, keypoints: Tensor) -> Embedded:
        """Embed one face of each picture; see :class:`IdentityEncoder`. No gradients.

        The length of a vector tells little about a photo with most of these models, so the quality is the sharpness of
        the aligned face.
        """
        with torch.no_grad():
            faces = align_faces(image, keypoints, padding="zeros").float().clamp(0, 1)
            pixels = (faces * 255).cpu().numpy()
            vectors = torch.from_numpy(self._run(pixels)).to(image.device, torch.float32)
            return Embedded(vectors=functional.normalize(vectors), quality=sharpness(faces))

    def embed_aligned(self, faces: np.ndarray) -> np.ndarray:
        """Raw vectors [B, D] of aligned faces [B, 112, 112, 3] uint8 RGB: a teacher for the compact encoder."""
        return self._run(np.ascontiguousarray(faces.transpose(0, 3, 1, 2), np.float32))

    def _run(self, pixels: np.ndarray) -> np.ndarray:
        """[B, 3, 112, 112] float32 RGB in 0..255 -> [B, D]; in the portions that the graph allows."""
        step = self._batch or max(1, len(pixels))
        parts = [self._model.forward(pixels[i : i + step]) for i in range(0, len(pixels), step)]
        return np.concatenate(parts).astype(np.float32)


class InsightFaceEncoder(OnnxEncoder):
    """The recognition model of an insightface pack.

    Args:
        folder: ``NAME/*.onnx``, or ``NAME/NAME/*.onnx`` as some archives unpack.
        runtime: its device decides the execution provider.

    Raises:
        MissingPackageError: a package is missing, or the folder holds no recognition model.
        FileFormatError: a model is damaged.
    """

    def __init__(self, folder: Path | str, runtime: Runtime | None = None) -> None:
        super().__init__(_recognition_file(pack_folder(folder)), runtime)


def _recognition_file(folder: Path) -> Path:
    """The recognition model among a pack's files."""
    for path in sorted(folder.glob("*.onnx")):
        model = _open(path, ["CPUExecutionProvider"])
        if model is not None and model.taskname == _TASK:
            return path
    raise MissingPackageError(f"model pack {folder}", "no recognition model", "use a pack that has one")


def _open(path: Path, providers: list[str]) -> Any:
    """insightface's wrapper of a model, None where it knows none."""
    try:
        from google.protobuf.message import DecodeError  # comes with onnx, which insightface needs
        from insightface.model_zoo import get_model
    except ImportError as error:
        raise MissingPackageError("package insightface", "not installed", "pip install insightface") from error
    try:
        return get_model(str(path), providers=providers)
    except (DecodeError, *model_errors()) as error:
        raise FileFormatError(f"model {path}", type(error).__name__, "get the model file again") from error


def sharpness(faces: Tensor) -> Tensor:
    """How far the embedding of an aligned face can be trusted, from its finest detail: [B, 3, 112, 112] -> [B] in 0..1.

    The root mean square of what a reduction to a quarter loses in the middle of the face, over the face's contrast, on
    a curve that was fitted to EdgeFace-XS and shrunken training photos: there the logarithm of this ratio correlates
    with the cosine to the embedding of the clean photo by .89. Ours.
    """
    grey = faces.float().mean(1, keepdim=True)
    coarse = functional.interpolate(functional.avg_pool2d(grey, 4), grey.shape[-2:], mode="bicubic")
    detail = (grey - coarse)[..., _FRAME:-_FRAME, _FRAME:-_FRAME].square().mean((1, 2, 3)).sqrt()
    ratio = detail / (grey.std((1, 2, 3)) + 1e-3)
    return ratio.square() / (ratio.square() + _HALF_QUALITY**2)

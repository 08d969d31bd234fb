"""What every identity encoder is, and how one is opened by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import Tensor

from ..errors import ArgumentError
from ..runtime import Runtime


@dataclass(frozen=True, kw_only=True, eq=False)
class Embedded:
    """What an encoder says of a batch of faces."""

    vectors: Tensor  # [B, D] float32, unit norm
    quality: Tensor  # [B] float32 in 0..1: how far the vector can be trusted; comparable within one encoder only

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2 or self.quality.shape != self.vectors.shape[:1]:
            shapes = f"{tuple(self.vectors.shape)} and {tuple(self.quality.shape)}"
            raise ArgumentError("Embedded", shapes, "give vectors [B, D] and quality [B]")


class IdentityEncoder(Protocol):
    """A network that turns a face into a unit vector; the angle between two says whether they show one person."""

    @property
    def name(self) -> str:
        """What people call it."""
        ...

    @property
    def hash(self) -> str:
        """Hash of the weights."""
        ...

    @property
    def dim(self) -> int:
        """Length of a vector."""
        ...

    def embed(self, image: Tensor, keypoints: Tensor) -> Embedded:
        """Embed one face of each picture.

        Args:
            image: [B, 3, H, W] float, RGB, 0..1.
            keypoints: [B, 5, 2] in pixels of ``image``: eyes, nose tip, mouth corners by image side.

        Raises:
            ArgumentError: shapes that do not fit, numbers that are not finite.
        """
        ...


def open_encoder(
    spec: str | Path,
    *,
    compact: Callable[[], IdentityEncoder] | None = None,
    runtime: Runtime | None = None,
) -> IdentityEncoder:
    """Open an encoder by name.

    Args:
        spec: "compact", the folder of an insightface model pack, or the path of an ONNX recognition model.
        compact: gives the bundle's encoder, as in ``lambda: load_bundle().encoder``; it is asked for "compact" only.
        runtime: where ONNX models run; a compact encoder comes with its own device.

    Raises:
        ArgumentError: the name is none of these.
        FileFormatError: no recognition model in the folder, or a damaged file.
        MissingPackageError: insightface or onnxruntime is not installed.
    """
    if str(spec) == "compact":
        if compact is None:
            raise ArgumentError("encoder", "compact", "name the bundle that holds it")
        return compact()
    path = Path(spec)
    if not path.is_dir() and path.suffix != ".onnx":
        raise ArgumentError("encoder", str(spec), 'give "compact", the folder of a model pack, or an .onnx file')
    from .insight import InsightFaceEncoder, OnnxEncoder

    return InsightFaceEncoder(path, runtime) if path.is_dir() else OnnxEncoder(path, runtime)

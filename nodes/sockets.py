"""What flows between the nodes: the socket types and the values behind them.

All per-picture values are tuples over the batch, one entry a picture. None stands for a picture without a face, which
later nodes pass through as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

if TYPE_CHECKING:
    from torch import Tensor

    from ..idfsr_core.bundle import Bundle
    from ..idfsr_core.faces.analyzer import FaceAnalyzer
    from ..idfsr_core.faces.face import Face
    from ..idfsr_core.geometry import Alignment
    from ..idfsr_core.identity.encoders import IdentityEncoder

IDFSRModel = io.Custom("IDFSR_MODEL")
IDFSRAnalyzer = io.Custom("IDFSR_ANALYZER")
IDFSRFaces = io.Custom("IDFSR_FACES")
IDFSRFace = io.Custom("IDFSR_FACE")
IDFSRAlignment = io.Custom("IDFSR_ALIGNMENT")
IDFSRIdentity = io.Custom("IDFSR_IDENTITY")
"""Carries the core's ``IdentityEmbedding`` itself."""


@dataclass(frozen=True, eq=False)
class Model:
    """IDFSR_MODEL: an opened bundle, whose networks ComfyUI may move and free."""

    bundle: Bundle
    patcher: Any  # comfy's ModelPatcher around all networks of the bundle
    name: str  # as the loader's list shows it


@dataclass(frozen=True, eq=False)
class Analyzer:
    """IDFSR_ANALYZER: finds faces and tells them apart."""

    finder: FaceAnalyzer
    encoder: IdentityEncoder
    patcher: Any | None  # of the bundle whose networks take part; None: there are none
    name: str  # as the loader's list shows it
    size: int = 128  # side in pixels at which the model works that the faces are found for


@dataclass(frozen=True, eq=False)
class DetectedFaces:
    """IDFSR_FACES: all faces of a batch of pictures."""

    faces: tuple[tuple[Face, ...], ...]  # by picture, left to right; each with its 68 landmarks
    images: Tensor  # [B, 3, H, W] in 0..1, the pictures themselves (not a copy)
    analyzer: Analyzer  # that found them
    found_by: str = ""  # how they were found, in words: for the message where there are none


@dataclass(frozen=True, eq=False)
class SelectedFaces:
    """IDFSR_FACE: one face of each picture."""

    faces: tuple[Face | None, ...]
    reasons: tuple[str, ...]  # why this face, or why none; a sentence a picture
    size: int = 128  # side in pixels of the crops to be made of them


@dataclass(frozen=True, eq=False)
class Alignments:
    """IDFSR_ALIGNMENT: where the crops lie in their pictures."""

    items: tuple[Alignment | None, ...]
    scales: tuple[float, ...]  # crop pixels per real pixel: the crop's side over the low-resolution face's

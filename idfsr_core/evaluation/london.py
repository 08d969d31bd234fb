"""People who took part in nothing: the Face Research Lab London Set, two photos of each.

The neutral photo is the only reference, the smiling one is made small. Keypoints and crops of the good photos come from
an insightface pack; everything found in the small picture comes from the analyzer that is measured.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ArgumentError
from ..pretraining.data import FaceLibrary
from ..pretraining.folders import read_folders
from ..references import largest_face
from .protocol import Case, EvaluationSettings

if TYPE_CHECKING:
    from torch import Tensor

    from ..faces.analyzer import FaceAnalyzer


def read_london(folder: Path, finder: FaceAnalyzer) -> FaceLibrary:
    """The 192 px crops of ``folder/NNN/neutral.jpg`` and ``smiling.jpg``, in this order for each person.

    Raises:
        ArgumentError: no such folder.
        FileFormatError: no photo with a face in it.
    """
    if not folder.is_dir():
        raise ArgumentError(
            "folder of the London set", folder, "put it beside the archive, or name its place by --faces"
        )
    return read_folders(folder, _keypoints_by(finder))


def _keypoints_by(finder: FaceAnalyzer) -> Callable[[Tensor], np.ndarray | None]:
    def find(image: Tensor) -> np.ndarray | None:
        face = largest_face(finder.analyze(image))
        return None if face is None else face.keypoints

    return find


def smiling_from_neutral(library: FaceLibrary, settings: EvaluationSettings) -> list[Case]:
    """The last photo of each person is the target and the first the reference; people by name, none drawn."""
    pairs = [photos for photos in library.people() if len(photos) == 2][: settings.people]
    if len(pairs) < 2:
        raise ArgumentError("people", f"{len(pairs)} with two photos", "give photos of at least two people")
    return [
        Case(number=number, target=int(photos[1]), references=(int(photos[0]),), further=())
        for number, photos in enumerate(pairs)
    ]

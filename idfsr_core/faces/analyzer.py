"""What every face analyzer can do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from .face import Face

if TYPE_CHECKING:
    from torch import Tensor


@runtime_checkable
class FaceAnalyzer(Protocol):
    """Finds faces and their points in pictures [1, 3, H, W] (RGB, 0..1)."""

    name: str

    def analyze(self, image: Tensor, threshold: float | None = None) -> list[Face]:
        """Every face with a score of at least ``threshold`` (None: the analyzer's own choice), best first."""
        ...

    def landmarks(self, image: Tensor, rough: np.ndarray) -> np.ndarray:
        """68 landmarks [68, 2] in pixels of the face around ``rough``: a box [4] or five keypoints [5, 2]."""
        ...

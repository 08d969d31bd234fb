"""Two analyzers as one: who finds the faces need not be who knows their landmarks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .analyzer import FaceAnalyzer


class PackWithLandmarks:
    """Faces by one analyzer, and dense landmarks, where those have none, by another: few packs bring them.

    Args:
        finder: finds the faces.
        other: asked for 68 landmarks.
    """

    def __init__(self, finder: FaceAnalyzer, other: FaceAnalyzer) -> None:
        self.name = finder.name
        self.analyze = finder.analyze
        self.landmarks = other.landmarks

"""The rule by which one face of each picture is chosen. Imports nothing heavy: the nodes offer its words."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import ArgumentError

LARGEST, LEFT, LIKE, INDEX = "largest", "left to right", "like identity", "index"
RULES = (LARGEST, LEFT, LIKE, INDEX)


@dataclass(frozen=True, kw_only=True)
class FaceRule:
    """How one face of each picture is chosen."""

    how: str = LARGEST
    """One of :data:`RULES`: the largest, one counted from the left, the one most like a person, one of the list."""
    index: int = 0
    """Which one: counted from the left edge, or in the order of the list; from 0, negative from the end."""
    least: float = -1.0
    """Least similarity to the person, -1 to 1, for "like identity"; -1 takes the likest whoever it is."""
    required: bool = True
    """An error where a picture has no such face; False: None there."""
    smooth: float = 0.0
    """The pictures are frames: the face is followed, and smoothed over this many of them; 0 takes each by itself."""

    def __post_init__(self) -> None:
        if self.how not in RULES:
            raise ArgumentError("how", self.how, f"use one of {', '.join(RULES)}")
        if not -1 <= self.least <= 1:
            raise ArgumentError("least similarity", self.least, "use -1 to 1")
        if not self.smooth >= 0:
            raise ArgumentError("smooth", self.smooth, "use 0 (off) or a number of frames above it")

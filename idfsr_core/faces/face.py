"""A face in a picture: what every analyzer returns and every later step reads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import ArgumentError


@dataclass(frozen=True, kw_only=True)
class Face:
    """One face, in pixel coordinates of the picture it was found in.

    The centre of the top-left pixel is (0, 0), as in OpenCV. "Left" and "right" are sides of the picture.
    """

    box: np.ndarray  # [4] float32: x0, y0, x1, y1
    score: float  # 0..1, the detector's confidence
    keypoints: np.ndarray  # [5, 2] float32: left eye, right eye, nose tip, left and right mouth corner
    landmarks: np.ndarray | None  # [68, 2] float32 in the iBUG 300-W order, or None where the analyzer has none
    image_size: tuple[int, int]  # (width, height) of the picture

    def __post_init__(self) -> None:
        for name, shape in (("box", (4,)), ("keypoints", (5, 2)), ("landmarks", (68, 2))):
            value = getattr(self, name)
            if value is None and name == "landmarks":
                continue
            value = np.asarray(value, np.float32)
            if value.shape != shape or not np.isfinite(value).all():
                raise ArgumentError(f"Face.{name}", f"shape {value.shape}", f"give finite numbers of shape {shape}")
            object.__setattr__(self, name, value)

    @property
    def width(self) -> float:
        """Width of the box in pixels."""
        return float(self.box[2] - self.box[0])

    @property
    def height(self) -> float:
        """Height of the box in pixels."""
        return float(self.box[3] - self.box[1])

    @property
    def eye_distance(self) -> float:
        """Distance between the eyes in pixels."""
        return float(np.linalg.norm(self.keypoints[1] - self.keypoints[0]))

"""What ComfyUI's own detectors give, in the core's terms: BOUNDING_BOX and FACE_LANDMARKS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..idfsr_core.errors import ArgumentError
from ..idfsr_core.faces.face import Face
from ..idfsr_core.faces.mesh import face_from_mesh

_STRETCH = 0.02  # by which the aspects of two pictures may differ and still be of one


def boxes_per_picture(value: Any, count: int) -> list[list[list[float]]]:
    """A BOUNDING_BOX value as boxes [x0, y0, x1, y1] in pixels, one list for each of ``count`` pictures.

    A single box, or one list of boxes, holds for every picture.

    Raises:
        ArgumentError: no boxes, or those of another number of pictures.
    """
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, (list, tuple)):
        raise ArgumentError("bounding_box", type(value).__name__, "connect a BOUNDING_BOX")
    frames = [value] if not value or isinstance(value[0], Mapping) else value
    if len(frames) not in (1, count):
        remedy = "connect one list of boxes for all, or the boxes that were found in these pictures"
        raise ArgumentError("bounding_box", f"boxes of {len(frames)} pictures for {count}", remedy)
    boxes = [[_corners(box) for box in frame] for frame in frames]
    return boxes if len(boxes) == count else boxes * count


def _corners(box: Any) -> list[float]:
    try:
        x, y, width, height = (float(box[key]) for key in ("x", "y", "width", "height"))
    except (KeyError, TypeError, ValueError) as error:
        raise ArgumentError("bounding_box", box, "give x, y, width and height in pixels") from error
    return [x, y, x + width, y + height]


def faces_of_landmarks(value: Any, count: int, size: tuple[int, int]) -> list[list[Face]]:
    """A FACE_LANDMARKS value (Detect Face Landmarks) as faces, one list for each of ``count`` pictures.

    Landmarks found in a larger or smaller copy of the pictures, of (width, height) ``size``, are scaled.

    Raises:
        ArgumentError: no landmarks, those of another number of pictures, or of pictures of another shape.
    """
    if not isinstance(value, Mapping) or not {"frames", "image_size"} <= set(value):
        raise ArgumentError("face_landmarks", type(value).__name__, "connect the FACE_LANDMARKS of a landmark detector")
    frames, (height, width) = value["frames"], value["image_size"]
    remedy = "connect the landmarks that were found in these pictures"
    if len(frames) != count:
        raise ArgumentError("face_landmarks", f"of {len(frames)} pictures for {count}", remedy)
    zoom = np.array([size[0] / width, size[1] / height], np.float32)
    if abs(zoom[0] / zoom[1] - 1) > _STRETCH:
        raise ArgumentError("face_landmarks", f"of {width}x{height} pixels for {size[0]}x{size[1]}", remedy)
    return [[_face(face, zoom, size) for face in frame] for frame in frames]


def _face(face: Mapping[str, Any], zoom: np.ndarray, size: tuple[int, int]) -> Face:
    # Their pixels are counted from the picture's edge, the core's from the centre of the first one.
    mesh = np.asarray(face["landmarks_xy"], np.float32) * zoom - 0.5
    return face_from_mesh(mesh, size, float(face.get("score", 1.0)))

"""Which of several faces is meant."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..errors import AmbiguousFaceError, ArgumentError, FaceNotFoundError
from .face import Face

HOW = ("only", "largest", "index", "left", "identity", "box")
THINNEST = 4.0  # pixels: a box the user draws must be at least this wide and tall


def select_face(
    faces: Sequence[Face],
    how: str = "only",
    *,
    index: int = 0,
    similarity: Callable[[Face], float] | None = None,
    box: Sequence[float] | np.ndarray | None = None,
    what: str = "picture",
) -> Face:
    """One face out of those an analyzer found.

    Args:
        faces: what the analyzer returned, best first.
        how: "only" (there must be one), "largest" (area of the box), "index" (number ``index`` of the list), "left"
            (number ``index`` counted from the left edge), "identity" (highest ``similarity(face)``), "box" (the face
            that shares most with ``box``).
        index: from 0; a negative one counts from the end.
        similarity: similarity of a face to the person looked for; needed by "identity".
        box: x0, y0, x1, y1 in pixels; needed by "box".
        what: what the picture is called in error messages.

    Raises:
        FaceNotFoundError: no face, fewer faces than ``index`` says, or none in the box.
        AmbiguousFaceError: "only", and there are several.
        ArgumentError: an unknown ``how``, or its own argument is missing.
    """
    if how not in HOW:
        raise ArgumentError("face selection", how, "use one of " + ", ".join(HOW))
    if not faces:
        raise FaceNotFoundError(what, "no face found", "give another picture, or say where the face is by a box")
    if how == "only":
        return _only(faces, what)
    if how == "largest":
        return max(faces, key=lambda face: face.width * face.height)
    if how == "identity":
        return _most_similar(faces, similarity)
    if how == "box":
        return _in_box(faces, box, what)
    return _numbered(left_to_right(faces) if how == "left" else list(faces), index, what)


def left_to_right(faces: Sequence[Face]) -> list[Face]:
    """Faces by the middle of their boxes, from the left edge of the picture."""
    return sorted(faces, key=lambda face: float(face.box[0] + face.box[2]))


def check_box(box: Sequence[float] | np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """A user's box as float32 [4], cut to the picture (width, height).

    Raises:
        ArgumentError: it is no box, lies outside the picture, or is thinner than 4 pixels.
    """
    values = np.asarray(box, np.float32)
    if values.shape != (4,) or not np.isfinite(values).all():
        raise ArgumentError("box", box, "give four numbers: left, top, right, bottom")
    shown = [round(float(value), 1) for value in values]
    width, height = image_size
    cut = np.clip(values, 0, np.array([width, height, width, height], np.float32))
    if values[2] <= 0 or values[3] <= 0 or values[0] >= width or values[1] >= height:
        raise ArgumentError("box", shown, f"it lies outside the picture of {width}x{height} pixels; move it inside")
    if (cut[2:] - cut[:2]).min() < THINNEST:
        raise ArgumentError("box", shown, f"make it at least {THINNEST:.0f} pixels wide and tall inside the picture")
    return cut


def _only(faces: Sequence[Face], what: str) -> Face:
    if len(faces) > 1:
        raise AmbiguousFaceError(what, f"{len(faces)} faces", "say which one: by number, by a box or by a person")
    return faces[0]


def _numbered(faces: list[Face], index: int, what: str) -> Face:
    if not -len(faces) <= index < len(faces):
        remedy = f"there are {len(faces)}: use a number from 0 to {len(faces) - 1}"
        raise FaceNotFoundError(what, f"no face number {index}", remedy)
    return faces[index]


def _most_similar(faces: Sequence[Face], similarity: Callable[[Face], float] | None) -> Face:
    if similarity is None:
        raise ArgumentError("face selection", "identity", "give a similarity to the person looked for")
    return max(faces, key=similarity)


def _in_box(faces: Sequence[Face], box: Sequence[float] | np.ndarray | None, what: str) -> Face:
    if box is None:
        raise ArgumentError("face selection", "box", "give the box: left, top, right, bottom")
    wanted = check_box(box, faces[0].image_size)
    shares = [_share(face.box, wanted) for face in faces]
    best = int(np.argmax(shares))
    if shares[best] <= 0:
        raise FaceNotFoundError(what, f"no face in the box {wanted.round(1).tolist()}", "move the box onto a face")
    return faces[best]


def _share(first: np.ndarray, second: np.ndarray) -> float:
    """Intersection over union of two boxes."""
    side = np.clip(np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2]), 0, None)
    area = lambda box: float(np.prod(box[2:] - box[:2]))
    return float(np.prod(side)) / max(area(first) + area(second) - float(np.prod(side)), 1e-9)

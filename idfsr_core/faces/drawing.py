"""Pictures for the eye: where the faces are, each with its number."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from ..errors import ArgumentError
from ..images import to_tensor, to_uint8
from .face import Face

READABLE = 512  # pixels: a picture with a shorter longest side is enlarged before it is drawn on
_DOTTED = 96  # pixels: from this width on a face's landmarks are drawn too
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_LETTER = 22.0  # pixels: height of a digit of _FONT at size 1
# Colours that the colour-blind can tell apart too (Okabe and Ito 2008), as RGB; they repeat.
_COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (213, 94, 0), (204, 121, 167), (0, 114, 178))


def drawing_zoom(width: int, height: int) -> int:
    """By which whole factor a picture is enlarged, so that boxes and numbers can be read."""
    return max(1, -(-READABLE // max(width, height)))


def draw_faces(image: Tensor, faces: Sequence[Face]) -> Tensor:
    """A picture [1, 3, H, W] with a numbered box around each face -> [1, 3, H * k, W * k], k = :func:`drawing_zoom`.

    The number is the face's place in ``faces``, from 0. A face at least 96 pixels wide shows its landmarks.
    """
    zoom = drawing_zoom(image.shape[-1], image.shape[-2])
    page = to_uint8(image)
    if zoom > 1:
        page = cv2.resize(page, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
    page = np.ascontiguousarray(page)
    weight = max(1, round(max(page.shape[:2]) / 400))
    for number, face in enumerate(faces):
        colour = _COLOURS[number % len(_COLOURS)]
        _dots(page, face, zoom, weight)
        _box(page, face, zoom, weight, colour)
    for number, face in enumerate(faces):  # above all boxes, so that none is crossed out
        _number(page, str(number), face, zoom, weight, _COLOURS[number % len(_COLOURS)])
    return to_tensor(page)


def draw_all(images: Tensor, faces: Sequence[Sequence[Face]]) -> Tensor:
    """:func:`draw_faces` for a batch [B, 3, H, W], picture by picture -> [B, 3, H * k, W * k] on the CPU."""
    if len(images) != len(faces):
        raise ArgumentError("faces", f"of {len(faces)} pictures for {len(images)}", "give the faces of every picture")
    height, width = images.shape[-2:]
    zoom = drawing_zoom(width, height)
    # as ComfyUI lays pictures out: no second copy is needed to hand them on
    pages = torch.empty(len(images), height * zoom, width * zoom, 3)
    for index, found in enumerate(faces):
        pages[index] = draw_faces(images[index : index + 1], found)[0].movedim(0, -1)
    return pages.movedim(-1, 1)


def _place(points: np.ndarray, zoom: int) -> np.ndarray:
    """Whole pixels of the enlarged picture for points of the small one."""
    return np.round((points + 0.5) * zoom - 0.5).astype(int)


def _box(page: np.ndarray, face: Face, zoom: int, weight: int, colour: tuple[int, int, int]) -> None:
    corners = _place(face.box.reshape(2, 2), zoom)
    first, last = tuple(map(int, corners[0])), tuple(map(int, corners[1]))
    cv2.rectangle(page, first, last, (0, 0, 0), weight + 2)
    cv2.rectangle(page, first, last, colour, weight)


def _dots(page: np.ndarray, face: Face, zoom: int, weight: int) -> None:
    if face.landmarks is None or face.width * zoom < _DOTTED:
        return
    for x, y in _place(face.landmarks, zoom):
        cv2.circle(page, (int(x), int(y)), weight, (0, 0, 0), -1, cv2.LINE_AA)
        cv2.circle(page, (int(x), int(y)), max(1, weight - 1), (255, 255, 255), -1, cv2.LINE_AA)


def _number(page: np.ndarray, text: str, face: Face, zoom: int, weight: int, colour: tuple[int, int, int]) -> None:
    """A filled label above the box's top left corner, below its bottom one where there is no room."""
    height, width = page.shape[:2]
    size = max(13.0, max(height, width) / 36) / _LETTER
    (wide, tall), _ = cv2.getTextSize(text, _FONT, size, weight)
    pad = max(2, weight + 1)
    (left, top), (_, bottom) = _place(face.box.reshape(2, 2), zoom).tolist()
    x = min(max(left, 0), max(width - wide - 2 * pad, 0))
    y = top - weight if top - weight - tall - 2 * pad >= 0 else min(bottom + weight + tall + 2 * pad, height - 1)
    y = max(y, tall + 2 * pad)
    cv2.rectangle(page, (x, y - tall - 2 * pad), (x + wide + 2 * pad, y), colour, -1)
    cv2.putText(page, text, (x + pad, y - pad), _FONT, size, (0, 0, 0), weight, cv2.LINE_AA)

"""The faces of a batch of pictures: looked for, or where the user says that they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch.nn.functional as F
from torch import Tensor

from .errors import ArgumentError
from .face_choice import face_in_box, look_closely
from .faces.face import Face
from .faces.selection import THINNEST, left_to_right
from .runtime import Runtime

if TYPE_CHECKING:
    from .faces.analyzer import FaceAnalyzer

PAINTED = 0.5  # of a mask: what is at least so white

Look = Callable[[int, Tensor], Sequence[Face]]
"""The faces of one picture [1, 3, H, W], given its number in the batch."""


def look_at_all(
    images: Tensor, look: Look, analyzer: FaceAnalyzer, runtime: Runtime | None = None
) -> tuple[tuple[Face, ...], ...]:
    """The faces of each of the pictures [B, 3, H, W], one after the other; every face gets its 68 landmarks."""
    runtime = runtime or Runtime()
    found = []
    for number in range(len(images)):
        runtime.check()
        image = images[number : number + 1]
        found.append(tuple(complete(analyzer, image, face) for face in look(number, image)))
        runtime.progress(number + 1, len(images))
    return tuple(found)


def complete(analyzer: FaceAnalyzer, image: Tensor, face: Face) -> Face:
    """The face with dense landmarks: its own, or those that the analyzer reads."""
    if face.landmarks is not None:
        return face
    return replace(face, landmarks=np.asarray(analyzer.landmarks(image, face.keypoints), np.float32))


def search(analyzer: FaceAnalyzer, threshold: float | None = None) -> Look:
    """Look for faces with a score of at least ``threshold`` (None: the analyzer's own), from left to right."""
    return lambda number, image: left_to_right(look_closely(analyzer, image, threshold))


def in_boxes(analyzer: FaceAnalyzer, boxes: Sequence[Sequence[Sequence[float]]], what: str = "boxes") -> Look:
    """A face in each box (x0, y0, x1, y1 in pixels) of each picture, in the order of the boxes.

    The look raises ArgumentError where a box lies outside its picture or is thinner than 4 px.
    """

    def look(number: int, image: Tensor) -> list[Face]:
        found = []
        for index, box in enumerate(boxes[number]):
            try:
                found.append(face_in_box(analyzer, image, box))
            except ArgumentError as error:
                where = f"{what}, box {index} of picture {number}"
                raise ArgumentError(where, error.value, error.remedy) from error
        return found

    return look


def in_mask(analyzer: FaceAnalyzer, mask: Tensor) -> Look:
    """A face in each patch of a mask [B or 1, 1, H, W] over the pictures, from left to right.

    The look raises ArgumentError where the mask has another size than the picture; see :func:`fit_mask`.
    """

    def look(number: int, image: Tensor) -> list[Face]:
        own = mask[number % len(mask), 0]
        if own.shape != image.shape[-2:]:
            raise ArgumentError("mask", tuple(own.shape), f"give one of {tuple(image.shape[-2:])} pixels")
        boxes = boxes_of_mask(own.float().cpu().numpy())
        return left_to_right([face_in_box(analyzer, image, box.tolist()) for box in boxes])

    return look


def already_found(faces: Sequence[Sequence[Face]]) -> Look:
    """Faces that something else found, as they are."""
    return lambda number, image: faces[number]


def boxes_of_mask(mask: np.ndarray) -> np.ndarray:
    """The boxes [N, 4] (x0, y0, x1, y1, ends excluded) around the patches of a mask [H, W]; specks are left out."""
    painted = (mask >= PAINTED).astype(np.uint8)
    _, _, rows, _ = cv2.connectedComponentsWithStats(painted, connectivity=8)
    low, side = rows[1:, :2].astype(np.float32), rows[1:, 2:4].astype(np.float32)
    return np.concatenate([low, low + side], 1)[(side >= THINNEST).all(1)]


def fit_mask(mask: Tensor, images: Tensor) -> tuple[Tensor, str]:
    """A mask [B or 1, 1, h, w] at the size of the pictures [B, 3, H, W], and what was done, in words ("" for nothing).

    Raises:
        ArgumentError: masks of another number than the pictures, or nothing painted.
    """
    if len(mask) not in (1, len(images)):
        value = f"{len(mask)} masks for {len(images)} pictures"
        raise ArgumentError("mask", value, "connect one mask for all, or one for each")
    if float(mask.max()) < PAINTED:
        raise ArgumentError("mask", "nothing painted", "paint over the face (Open in MaskEditor), or disconnect it")
    if mask.shape[-2:] == images.shape[-2:]:
        return mask, ""
    (height, width), (tall, wide) = mask.shape[-2:], images.shape[-2:]
    resized = F.interpolate(mask, (tall, wide), mode="bilinear", align_corners=False)
    return resized, f"mask of {width}x{height} pixels resized to the {wide}x{tall} pixels of the picture"

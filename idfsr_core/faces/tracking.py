"""One face through the frames of a video: followed from frame to frame, its jitter smoothed away.

Frames come in their order, one entry each; None stands for a frame in which the face was not found.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import ArgumentError
from .face import Face
from .points import KEYPOINTS, LANDMARKS

REACH = 1.0  # face sizes by which a face may move from one frame to the next
GROWTH = 1.6  # factor by which its size may change
PATIENCE = 3  # frames in which a face may go unseen and still be the same one
_NARROWEST = 0.5  # frames: with less, a missing frame would be out of everybody's sight
_BOX = 4


def same_face(before: Face, after: Face, frames: int = 1) -> bool:
    """Whether two boxes, so many frames apart, can belong to one face: near each other and of like size."""
    sizes = [float(np.sqrt(max(face.width * face.height, 1e-6))) for face in (before, after)]
    near = _distance(before, after) <= REACH * frames * (sizes[0] + sizes[1]) / 2
    return near and max(sizes) / min(sizes) <= GROWTH


def _distance(first: Face, second: Face) -> float:
    """Between the centres of two boxes, in pixels."""
    return float(np.linalg.norm((first.box[:2] + first.box[2:] - second.box[:2] - second.box[2:]) / 2))


def follow(
    frames: Sequence[Sequence[Face]], chosen: Sequence[Face | None], start: int | None = None
) -> list[Face | None]:
    """The same face in every frame, instead of the one that a rule takes in each frame alone.

    In each frame the face nearest to that of the frame before is taken. Where none is near enough for more than
    PATIENCE frames, as after a cut, the rule's choice begins a new track.

    Args:
        frames: all faces of every frame.
        chosen: the rule's choice in every frame.
        start: the frame whose choice is the surest; it is followed both ways. None: the first that has one.
    """
    if len(frames) != len(chosen):
        raise ArgumentError("frames", f"{len(frames)} with {len(chosen)} choices", "give one choice a frame")
    if start is None:
        start = next((index for index, face in enumerate(chosen) if face is not None), 0)
    forward = _follow(frames[start:], chosen[start:])
    backward = _follow(frames[start::-1], chosen[start::-1])
    return [*backward[:0:-1], *forward]


def _follow(frames: Sequence[Sequence[Face]], chosen: Sequence[Face | None]) -> list[Face | None]:
    result: list[Face | None] = []
    last: Face | None = None
    unseen = 0
    for faces, choice in zip(frames, chosen, strict=True):
        found = choice if last is None or unseen >= PATIENCE else _nearest(faces, last, unseen + 1)
        unseen = 0 if found is not None else unseen + 1
        last = found or last
        result.append(found)
    return result


def _nearest(faces: Sequence[Face], last: Face, frames: int) -> Face | None:
    near = [face for face in faces if same_face(last, face, frames)]
    return min(near, key=lambda face: _distance(last, face), default=None)


def smooth_faces(faces: Sequence[Face | None], frames: float) -> list[Face | None]:
    """Smooth box, keypoints and landmarks in time, each track for itself.

    At every frame a straight line is fitted to each coordinate, with Gaussian weights in time. In the middle of a track
    that is the Gaussian mean; at its ends, and where the face moves evenly, nothing lags behind (local linear
    regression, Cleveland 1979). A face that was missed for up to PATIENCE frames is put where the line says it is.

    Args:
        faces: one face, or None, of every frame, in order.
        frames: standard deviation of the weights in frames; 0 changes nothing, 1 to 3 calm a detector's jitter, more
            blur a talking mouth.

    Returns:
        New faces; a filled one has the score 0. Frames outside all tracks stay None.
    """
    if not frames >= 0:
        raise ArgumentError("smooth", frames, "use 0 (off) or a number of frames above it")
    result = list(faces)
    if frames > 0:
        for track in _tracks(faces):
            _smooth_track(result, track, max(frames, _NARROWEST))
    return result


def _tracks(faces: Sequence[Face | None]) -> list[list[int]]:
    """Frames of each track, in order: the face goes on, with at most PATIENCE frames in which it was missed."""
    tracks: list[list[int]] = []
    for index, face in enumerate(faces):
        if face is None:
            continue
        last = tracks[-1][-1] if tracks else index
        before = faces[last]
        steps = index - last
        if before is not None and 0 < steps <= PATIENCE + 1 and same_face(before, face, steps):
            tracks[-1].append(index)
        else:
            tracks.append([index])
    return tracks


def _smooth_track(result: list[Face | None], track: list[int], frames: float) -> None:
    known = [face for face in (result[index] for index in track) if face is not None]
    dense = all(face.landmarks is not None for face in known)
    times = np.array(track, np.float64)
    where = np.arange(track[0], track[-1] + 1)
    values = _line_weights(times, where.astype(np.float64), frames) @ np.stack([_coordinates(f, dense) for f in known])
    scores = dict(zip(track, (face.score for face in known), strict=True))
    for index, row in zip(where.tolist(), values.astype(np.float32), strict=True):
        result[index] = _face(row, scores.get(index, 0.0), dense, known[0].image_size)


def _line_weights(times: np.ndarray, where: np.ndarray, frames: float) -> np.ndarray:
    """Weights [M, N] that take values at ``times`` [N] to those of the fitted lines at ``where`` [M]; rows sum to 1."""
    away = times[None] - where[:, None]
    weight = np.exp(-0.5 * (away / frames) ** 2)
    zeroth, first, second = (np.sum(weight * away**power, 1, keepdims=True) for power in (0, 1, 2))
    spread = zeroth * second - first**2
    line = weight * (second - first * away) / np.where(spread > 0, spread, 1)
    return np.where(spread > 0, line, weight / zeroth)


def _coordinates(face: Face, dense: bool) -> np.ndarray:
    parts = [face.box, face.keypoints]
    if dense and face.landmarks is not None:
        parts.append(face.landmarks)
    return np.concatenate([part.reshape(-1) for part in parts]).astype(np.float64)


def _face(row: np.ndarray, score: float, dense: bool, image_size: tuple[int, int]) -> Face:
    end = _BOX + 2 * KEYPOINTS
    return Face(
        box=row[:_BOX],
        score=score,
        keypoints=row[_BOX:end].reshape(KEYPOINTS, 2),
        landmarks=row[end:].reshape(LANDMARKS, 2) if dense else None,
        image_size=image_size,
    )

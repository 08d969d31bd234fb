"""Which face of a picture is meant: a box, a number, or the one most like the person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from .errors import AmbiguousFaceError, FaceNotFoundError
from .faces.compact import CompactAnalyzer
from .faces.face import Face
from .faces.filling import FILLED
from .faces.points import five_from_dense
from .faces.selection import check_box, left_to_right, select_face
from .identity.embedding import IdentityEmbedding
from .identity.resemblance import ranked
from .options import RestoreOptions
from .references import resemblance
from .runtime import Runtime

if TYPE_CHECKING:
    from .faces.analyzer import FaceAnalyzer
    from .identity.encoders import IdentityEncoder

MOST_PIXELS = 1.6e7  # of the picture that is searched: bounds memory and time
HINT = "say which one with --face N (counted from the left) or --box x0 y0 x1 y1"


def find_face(
    analyzer: FaceAnalyzer,
    encoder: IdentityEncoder,
    image: Tensor,
    options: RestoreOptions,
    person: IdentityEmbedding | None = None,
) -> tuple[Face, str]:
    """The face that the options mean, and why, in words.

    Args:
        analyzer: finds the faces; with ``options.box`` only the landmarks inside the box.
        encoder: compares several faces with the person.
        image: [1, 3, H, W] in 0..1.
        options: ``box`` and ``face`` are read.
        person: who is looked for, by the same encoder.

    Raises:
        FaceNotFoundError: no face, or no face of that number.
        AmbiguousFaceError: several faces, and none is clearly the most like the person.
        ArgumentError: the box lies outside the picture or is thinner than 4 px.
    """
    if options.box is not None:
        return face_in_box(analyzer, image, options.box), "in the given box"
    faces = left_to_right(look_closely(analyzer, image))
    if not faces:
        size = f"no face found in {image.shape[-1]}x{image.shape[-2]} pixels"
        raise FaceNotFoundError("picture", size, "say where the face is with --box x0 y0 x1 y1")
    if isinstance(options.face, int):
        face = select_face(faces, "left", index=options.face)
        return face, f"number {options.face} of {_count(faces)} from the left"
    if options.face == "left":
        return faces[0], f"leftmost of {_count(faces)}"
    if options.face == "largest":
        return select_face(faces, "largest"), f"largest of {_count(faces)}"
    if len(faces) == 1:
        return faces[0], _alone(analyzer, image)
    return _likest(encoder, image, faces, person)


def _alone(analyzer: FaceAnalyzer, image: Tensor) -> str:
    """Why the only face is the one."""
    if isinstance(analyzer, CompactAnalyzer) and max(image.shape[-2:]) <= FILLED:
        return f"the picture is {image.shape[-1]}x{image.shape[-2]} pixels: the face is taken to fill it"
    return "the only face found"


def look_closely(analyzer: FaceAnalyzer, image: Tensor, threshold: float | None = None) -> list[Face]:
    """All faces, the tiny ones of a large picture too.

    The compact analyzer makes large pictures smaller, which costs nothing where a face is good, as in a reference, and
    everything where it is twelve pixels tall. Here it sees up to 16 megapixels as they are. ``threshold`` is the
    analyzer's.
    """
    pixels = image.shape[-1] * image.shape[-2]
    if isinstance(analyzer, CompactAnalyzer) and pixels > analyzer.max_pixels:
        runtime = Runtime(device=str(analyzer.device))
        bound = min(pixels, MOST_PIXELS)
        analyzer = CompactAnalyzer(analyzer.networks, runtime, min_face=analyzer.min_face, max_pixels=bound)
    return analyzer.analyze(image, threshold)


def face_in_box(analyzer: FaceAnalyzer, image: Tensor, box: Sequence[float]) -> Face:
    """A face of which only the box is known; the analyzer reads the landmarks inside it.

    Raises:
        ArgumentError: the box lies outside the picture or is thinner than 4 px.
    """
    size = (image.shape[-1], image.shape[-2])
    cut = check_box(box, size)
    landmarks = np.asarray(analyzer.landmarks(image, cut), np.float32)
    return Face(box=cut, score=1.0, keypoints=five_from_dense(landmarks), landmarks=landmarks, image_size=size)


def _likest(
    encoder: IdentityEncoder, image: Tensor, faces: Sequence[Face], person: IdentityEmbedding | None
) -> tuple[Face, str]:
    if person is None:
        raise AmbiguousFaceError("picture", f"{len(faces)} faces: {_listed(faces)}", HINT)
    seen = [resemblance(encoder, image, face.keypoints, person) for face in faces]
    (best, second, *_), clear = ranked(seen)
    if not clear:
        raise AmbiguousFaceError("picture", f"{_count(faces)}, none stands out: {_listed(faces, seen)}", HINT)
    lead = f"similarity {seen[best]:.2f}, next {seen[second]:.2f}"
    return faces[best], f"most like the references of {_count(faces)} ({lead})"


def _count(faces: Sequence[Face]) -> str:
    return f"{len(faces)} face" + "s" * (len(faces) != 1)


def _listed(faces: Sequence[Face], likeness: Sequence[float] | None = None) -> str:
    """Number, box and similarity of each face, for a message."""
    shown = []
    for index, face in enumerate(faces):
        box = " ".join(f"{value:.0f}" for value in face.box)
        shown.append(f"{index} at {box}" + (f" like {likeness[index]:.2f}" if likeness else ""))
    return "; ".join(shown)

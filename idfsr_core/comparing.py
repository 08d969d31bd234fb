"""How like a person the faces of some pictures are, or another identity is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from .errors import EncoderMismatchError, FaceNotFoundError
from .identity.embedding import IdentityEmbedding, similarity
from .references import embed_face, largest_face
from .steps import align

if TYPE_CHECKING:
    from .faces.analyzer import FaceAnalyzer
    from .identity.encoders import IdentityEncoder

FACES_KEPT = 16  # crops that a comparison of many pictures holds for show


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """Some pictures, or one identity, beside a person."""

    names: tuple[str, ...]  # of what could be compared
    similarities: tuple[float, ...]  # cosines, -1..1
    faces: tuple[Tensor | None, ...]  # [1, 3, 128, 128] of the first 16; None for the others and for an identity
    notes: tuple[str, ...] = ()  # pictures without a face

    @property
    def mean(self) -> float:
        """Mean of the similarities."""
        return float(np.mean(self.similarities))


def compare_pictures(
    analyzer: FaceAnalyzer,
    encoder: IdentityEncoder,
    person: IdentityEmbedding,
    pictures: Iterable[tuple[str, Tensor]],
    check: Callable[[], None] = lambda: None,
    remedy: str = "compare with the encoder that made the identity",
) -> Comparison:
    """Compare the largest face of each picture with a person.

    Args:
        analyzer: finds the faces.
        encoder: must be the one that made ``person``.
        person: who it should be.
        pictures: name and picture [1, 3, H, W] of each.
        check: called before each picture; may raise to stop.
        remedy: what to do about another encoder, for the message.

    Raises:
        EncoderMismatchError: ``person`` was made by another encoder.
        FaceNotFoundError: no picture has a face.
    """
    person.check_encoder(encoder, remedy)
    names: list[str] = []
    found: list[float] = []
    faces: list[Tensor | None] = []
    notes: list[str] = []
    for name, picture in pictures:
        check()
        face = largest_face(analyzer.analyze(picture))
        if face is None:
            notes.append(f"{name}: no face found")
            continue
        vector, _ = embed_face(encoder, picture, face.keypoints)
        names.append(name)
        found.append(_cosine(vector, person.vector))
        faces.append(align(face).crop(picture).cpu() if len(faces) < FACES_KEPT else None)
    if not found:
        raise FaceNotFoundError("image", "no face found in any picture", "give a picture with a face in view")
    return Comparison(names=tuple(names), similarities=tuple(found), faces=tuple(faces), notes=tuple(notes))


def compare_identities(
    person: IdentityEmbedding, other: IdentityEmbedding, names: tuple[str, str] = ("identity", "other identity")
) -> Comparison:
    """Compare two identities that one encoder made.

    Raises:
        EncoderMismatchError: two encoders made them; vectors of different encoders have nothing in common.
    """
    first, second = (f"{each.encoder} {each.encoder_hash}" for each in (person, other))
    if first != second:
        value = f"made by {first}, and {names[1]} by {second}"
        raise EncoderMismatchError(names[0], value, "encode the photos of both with one analyzer")
    cosine = _cosine(person.vector, other.vector)
    return Comparison(names=(names[1],), similarities=(cosine,), faces=(None,))


def _cosine(first: Tensor, second: Tensor) -> float:
    return float(similarity(first, second).clamp(-1, 1))

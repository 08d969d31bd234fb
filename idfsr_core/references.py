"""The good photos of a person, prepared once and used for many pictures: cut out, measured, embedded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .errors import ArgumentError, FaceNotFoundError
from .faces.points import MIRROR_68
from .geometry import Alignment
from .identity.compact import CompactEncoder
from .identity.embedding import IdentityEmbedding, similarity
from .identity.glimpse import view_small
from .identity.photo_match import look
from .identity.pooling import PoolingReport, pool

if TYPE_CHECKING:
    from .faces.analyzer import FaceAnalyzer
    from .faces.face import Face
    from .identity.encoders import IdentityEncoder

CROP_SIZE = 192
"""Side of a reference crop for a model of 128 px, see :func:`crop_side`."""
FACE_SIZE = 128
"""Side in pixels at which the shipped model works; others say theirs (``Bundle.face_size``)."""


def crop_side(size: int) -> int:
    """Side of a reference crop: the FFHQ-style crop of ``size`` pixels with a quarter more on each side.

    The margin is where a warp finds pixels, and training its jitter.

    Raises:
        ArgumentError: a size that is no multiple of 4 (the margin would end within a pixel).
    """
    if size < 4 or size % 4:
        raise ArgumentError("size", size, "use a multiple of 4")
    return size // 2 * 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Reference:
    """One good photo of the person, reduced to what the restoration reads of it."""

    name: str
    crop: Tensor  # [1, 3, S * 1.5, S * 1.5] RGB 0..1 on the CPU, S the side of the face in it: 192 for 128
    landmarks: Tensor  # [68, 2] in crop pixels
    embedding: Tensor  # [D] unit norm
    quality: float  # as the encoder tells it; more is better
    small: Tensor | None = None  # [V, D] by :func:`idfsr_core.identity.glimpse.view_small`; None: not looked at
    looks: Tensor | None = None  # [2, V + 1, C] by :func:`idfsr_core.identity.photo_match.look`; None: not looked at
    mirrored: bool = False  # crop and landmarks are those of its mirror image

    def __post_init__(self) -> None:
        side = self.crop.shape[-1]
        if self.crop.shape != (1, 3, side, side) or side % 6 or self.landmarks.shape != (68, 2):
            shapes = f"{tuple(self.crop.shape)}, {tuple(self.landmarks.shape)}"
            wanted = f"give [1, 3, {CROP_SIZE}, {CROP_SIZE}] (1.5 times the model's side) and [68, 2]"
            raise ArgumentError(f"reference {self.name}", shapes, wanted)

    @property
    def size(self) -> int:
        """Side S of the FFHQ-style crop within the crop."""
        return self.crop.shape[-1] // 3 * 2

    @property
    def margin(self) -> int:
        """Pixels of the crop on each side of that."""
        return (self.crop.shape[-1] - self.size) // 2


def mirrored(photo: Reference) -> Reference:
    """The photo's mirror image. Its embeddings stay: to an encoder both are one person. Its looks change places."""
    landmarks = photo.landmarks[torch.from_numpy(MIRROR_68).to(photo.landmarks.device)].clone()
    landmarks[:, 0] = photo.crop.shape[-1] - 1 - landmarks[:, 0]
    looks = None if photo.looks is None else photo.looks.flip(0)
    return replace(photo, crop=photo.crop.flip(-1), landmarks=landmarks, looks=looks, mirrored=not photo.mirrored)


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedReferences:
    """All usable photos of one person."""

    photos: tuple[Reference, ...]
    identity: IdentityEmbedding  # pooled over the photos
    seen: tuple[Reference, ...]  # every photo with a face, also a stranger's, in the order given
    pooling: PoolingReport  # how the identity came about, over ``seen``
    notes: tuple[str, ...] = ()  # photos left out, and why

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the photos, in their order."""
        return tuple(photo.name for photo in self.photos)


def wide_alignment(face: Face, size: int = FACE_SIZE) -> Alignment:
    """The reference crop's place in its photo: the FFHQ template at ``size`` px in the middle of 1.5 times that."""
    inner, side = Alignment.from_keypoints(face.keypoints, face.image_size, size), crop_side(size)
    margin = (side - size) / 2
    matrix = inner.matrix + np.array([[0, 0, margin], [0, 0, margin]])
    return Alignment(matrix=matrix, size=side, image_size=face.image_size)


def inner_crop(photo: Reference) -> Tensor:
    """The FFHQ-style crop within a reference's crop, [1, 3, S, S]."""
    margin = photo.margin
    return photo.crop[:, :, margin:-margin, margin:-margin]


def largest_face(faces: Iterable[Face]) -> Face | None:
    """The face with the largest box, None where there is none."""
    return max(faces, key=lambda face: face.width * face.height, default=None)


def prepare_reference(
    analyzer: FaceAnalyzer, encoder: IdentityEncoder, name: str, photo: Tensor, size: int = FACE_SIZE
) -> Reference:
    """Find, cut out and embed the largest face of one photo [1, 3, H, W], for a model of ``size`` pixels.

    Raises:
        FaceNotFoundError: there is no face in it.
    """
    face = largest_face(analyzer.analyze(photo))
    if face is None:
        raise FaceNotFoundError(f"reference photo {name}", "no face found", "use a photo with a clear, frontal face")
    alignment = wide_alignment(face, size)
    dense = face.landmarks if face.landmarks is not None else analyzer.landmarks(photo, face.keypoints)
    embedding, quality = embed_face(encoder, photo, face.keypoints)
    reference = Reference(
        name=name,
        crop=alignment.crop(photo).float().cpu(),
        landmarks=torch.as_tensor(alignment.to_crop(dense), dtype=torch.float32),
        embedding=embedding,
        quality=quality,
    )
    inner = inner_crop(reference)
    return replace(reference, small=view_small(encoder, inner), looks=look(encoder, inner))


def embed_face(encoder: IdentityEncoder, image: Tensor, keypoints: np.ndarray | Tensor) -> tuple[Tensor, float]:
    """Embedding [D] on the CPU and quality of one face, keypoints [5, 2] in pixels of the image [1, 3, H, W]."""
    device = encoder.network.embedding.weight.device if isinstance(encoder, CompactEncoder) else image.device
    points = torch.as_tensor(keypoints, dtype=torch.float32)[None]
    with torch.inference_mode():
        result = encoder.embed(image.to(device), points.to(device))
    return result.vectors[0].detach().float().cpu().clone(), float(result.quality[0])


def resemblance(
    encoder: IdentityEncoder, image: Tensor, keypoints: np.ndarray | Tensor, person: IdentityEmbedding
) -> float:
    """How much one face of a picture [1, 3, H, W] looks like the person, whom the same encoder knows: -1..1."""
    vector, _ = embed_face(encoder, image, keypoints)
    return float(similarity(vector, person.vector).clamp(-1, 1))


def prepare_references(
    analyzer: FaceAnalyzer,
    encoder: IdentityEncoder,
    photos: Iterable[tuple[str, Tensor]],
    check: Callable[[], None] = lambda: None,
    size: int = FACE_SIZE,
) -> PreparedReferences:
    """Prepare photos of one person; read one at a time, so the iterable may load them as it goes.

    A photo without a face is left out and said so in ``notes``; so is a stranger among several photos of one person.

    Args:
        photos: name and picture [1, 3, H, W] of each.
        check: called before each photo; may raise to stop.
        size: side in pixels at which the model works that will see them, ``Bundle.face_size``.

    Raises:
        FaceNotFoundError: no photo shows a face.
        DifferentPeopleError: the photos do not show one person.
    """
    found: list[Reference] = []
    notes: list[str] = []
    for name, photo in photos:
        check()
        try:
            found.append(prepare_reference(analyzer, encoder, name, photo, size))
        except FaceNotFoundError as error:
            notes.append(f"{name} left out: {error.value}")
    if not found:
        left = ", ".join(notes) or "no photos given"
        raise FaceNotFoundError("references", left, "give at least one photo with a clear face of the person")
    return _pooled(encoder, found, notes)


def _small_views(photos: Sequence[Reference]) -> Tensor | None:
    """The photos' small views [N, V, D] for :func:`~idfsr_core.identity.pooling.pool`; None where one has none."""
    views = [photo.small for photo in photos if photo.small is not None]
    return torch.stack(views) if len(views) == len(photos) else None


def _pooled(encoder: IdentityEncoder, found: list[Reference], notes: list[str]) -> PreparedReferences:
    """Pool the embeddings; a stranger goes from the photos too."""
    vectors = torch.stack([reference.embedding for reference in found])
    quality = torch.tensor([reference.quality for reference in found])
    small = _small_views(found)
    pooled = pool(vectors, quality, encoder, names=[reference.name for reference in found], small=small)
    return PreparedReferences(
        photos=tuple(found[index] for index in pooled.report.kept),
        identity=pooled.identity,
        notes=(*notes, *pooled.report.notes()),
        seen=tuple(found),
        pooling=pooled.report,
    )

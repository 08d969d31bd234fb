"""One face to restore: the LR picture, what the analyzer makes of it, and the conditions for the denoiser.

With ``true`` landmarks the LR picture is the aligned crop itself and the points are those read from the good photo.
With ``found`` landmarks it is the whole 192 px photo made small, and box, alignment and points come from the analyzer,
as they do for a user; the result is pasted into that picture, and the crop of the truth is cut out of it again, so that
both kinds are measured in the same pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..errors import DifferentPeopleError, IDFSRError
from ..faces.face import Face
from ..faces.points import five_from_dense
from ..geometry import Alignment, resize_matrix
from ..identity.embedding import IdentityEmbedding
from ..identity.glimpse import SIDES, SmallViews, view_small
from ..identity.likeness import Likeness
from ..identity.photo_match import look
from ..identity.pooling import PoolingSettings, pool
from ..options import RestoreOptions
from ..pretraining.data import MARGIN, PHOTO_SIZE
from ..pretraining.degradations import degrade
from ..references import Reference
from ..steps import (
    align,
    dense_landmarks,
    identity_seen,
    low_resolution_face,
    make_conditioning,
    make_mask,
    paste_crop,
    warp_references,
)
from .metrics import landmark_error
from .protocol import EvaluationSettings, Photo, Subject, displaced_landmarks, rough_box

if TYPE_CHECKING:
    from ..diffusion.conditioning import Conditioning
    from ..faces.analyzer import FaceAnalyzer
    from ..identity.encoders import IdentityEncoder

SIZE = PHOTO_SIZE - 2 * MARGIN  # side of the crop in which everything is measured


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known of a person: the photos as the restoration sees them, and their identity."""

    photos: tuple[Reference, ...]
    identity: IdentityEmbedding
    encoder: IdentityEncoder  # which made it
    refused: bool = False  # the pooling took the photos for several people; they are used all the same, and counted

    @property
    def likeness(self) -> Likeness:
        """What the choice among the photos goes by."""
        return Likeness(identity=self.identity, encoder=self.encoder)

    def seen_in(self, cond: Conditioning, options: RestoreOptions) -> Conditioning:
        """The same conditions with this person's identity, moved to what the small picture shows of them."""
        return identity_seen(cond, self.identity, self.encoder, options)

    def alone(self) -> Known:
        """The same with the first photo only."""
        vector = torch.nn.functional.normalize(self.photos[0].embedding, dim=0)
        small = self.photos[0].small
        views = None if small is None else SmallViews(sides=SIDES, vectors=small)
        identity = replace(self.identity, vector=vector, photos=1, kind="single", small=views)
        return replace(self, photos=self.photos[:1], identity=identity, refused=False)


@dataclass(frozen=True, kw_only=True)
class Situation:
    """One face, one scale, one kind of landmarks."""

    subject: Subject
    scale: int
    landmarks: str  # "true" or "found"
    truth: Tensor  # [1, 3, 128, 128]
    truth_lr: Tensor  # [1, 3, h, h], the truth degraded
    picture: Tensor  # [1, 3, H, W], what is given
    face: Face | None  # None: nothing could be made of the picture
    alignment: Alignment | None  # picture -> crop
    failure: str | None  # what went wrong on the way, for the count
    found_error: float  # landmarks used against the true ones, in eye distances; nan where there are none

    @property
    def keypoints(self) -> np.ndarray:
        """True five keypoints [5, 2] in pixels of the truth."""
        return self.subject.target.keypoints - MARGIN

    def condition(self, known: Known, options: RestoreOptions, analyzer: FaceAnalyzer | None) -> Conditioning:
        """What the denoiser sees when this person is thought to be ``known``; the best reference is the style."""
        assert self.face is not None
        assert self.alignment is not None
        lr = low_resolution_face(self.picture, self.alignment)
        points = self._points(analyzer)
        mask = make_mask(points, SIZE / lr.shape[-1], options, SIZE)
        warped = warp_references(known.photos, points, lr, mask, options, known.likeness)
        return known.seen_in(make_conditioning(lr, mask, warped, known.identity.vector), options)

    def _points(self, analyzer: FaceAnalyzer | None) -> Tensor:
        """Landmarks [1, 68, 2] in crop pixels."""
        assert self.face is not None
        assert self.alignment is not None
        if self.face.landmarks is None:
            assert analyzer is not None  # found faces only come from one
            return dense_landmarks(analyzer, self.picture, self.face, self.alignment)
        return torch.as_tensor(self.alignment.to_crop(self.face.landmarks), dtype=torch.float32)[None]

    def to_truth(self, crop: Tensor, mask: Tensor | None = None) -> Tensor:
        """A restored crop [1, 3, S, S] in the pixels of the truth; ``mask`` [1, 1, S, S] is what of it is the face."""
        if self.landmarks == "true":
            return crop
        assert self.alignment is not None
        whole = paste_crop(self.picture, crop, self.alignment, (PHOTO_SIZE, PHOTO_SIZE), 0.06, mask)
        return whole[..., MARGIN : MARGIN + SIZE, MARGIN : MARGIN + SIZE]

    def bicubic(self) -> Tensor:
        """The picture enlarged, in the pixels of the truth: what every failed restoration is scored as."""
        size = SIZE if self.landmarks == "true" else PHOTO_SIZE
        grown = torch.nn.functional.interpolate(self.picture, (size, size), mode="bicubic", align_corners=False)
        margin = (size - SIZE) // 2
        return grown.clamp(0, 1)[..., margin : margin + SIZE, margin : margin + SIZE]


def make_situation(
    subject: Subject, scale: int, landmarks: str, settings: EvaluationSettings, analyzer: FaceAnalyzer | None
) -> Situation:
    """Degrade the target and read the face out of what is left.

    Args:
        subject: the person.
        scale: 8, 16, 32 ...
        landmarks: "true", or "found", which needs ``analyzer``.
        settings: degradation, seed and displacement are read.
        analyzer: finds faces in the LR picture.
    """
    image = subject.target.image
    generator = torch.Generator().manual_seed(settings.seed * 1009 + subject.case.number * 64 + scale)
    truth = image[..., MARGIN : MARGIN + SIZE, MARGIN : MARGIN + SIZE].contiguous()
    truth_lr = degrade(truth, scale, settings.degradation, generator)
    picture = truth_lr if landmarks == "true" else degrade(image, scale, settings.degradation, generator)
    face, alignment, failure = None, None, None
    try:
        if landmarks == "true":
            points = displaced_landmarks(subject.target, subject.case, settings.seed, settings.displaced)
            face, alignment = _true_face(subject.target, points, truth_lr.shape[-1])
        else:
            assert analyzer is not None
            face, failure = _found_face(subject, picture, scale, settings.seed, analyzer)
            alignment = align(face, SIZE)
    except IDFSRError as error:
        face, alignment, failure = None, None, f"{type(error).__name__}: {error.value}"
    return Situation(
        subject=subject,
        scale=scale,
        landmarks=landmarks,
        truth=truth,
        truth_lr=truth_lr,
        picture=picture,
        face=face,
        alignment=alignment,
        failure=failure,
        found_error=_error(face, subject.target, picture.shape[-1], landmarks),
    )


def _true_face(photo: Photo, points: np.ndarray, lr_side: int) -> tuple[Face, Alignment]:
    """The face in the LR crop, with points [68, 2] of the good photo, and the crop's own enlargement."""
    size = (lr_side, lr_side)
    alignment = Alignment(matrix=resize_matrix(lr_side, SIZE), size=SIZE, image_size=size)
    landmarks = alignment.to_image(points - MARGIN)
    box = np.concatenate([landmarks.min(0), landmarks.max(0)])
    keypoints = alignment.to_image(photo.keypoints - MARGIN)
    return Face(box=box, score=1.0, keypoints=keypoints, landmarks=landmarks, image_size=size), alignment


def _found_face(
    subject: Subject, picture: Tensor, scale: int, seed: int, analyzer: FaceAnalyzer
) -> tuple[Face, str | None]:
    """The best face of the LR picture; where there is none, the points inside a box drawn by hand."""
    faces = analyzer.analyze(picture)
    if not faces:
        return _face_in_rough_box(subject, picture, scale, seed, analyzer), "not found"
    face = faces[0]
    true = _to_lr(subject.target.keypoints, scale)
    away = np.linalg.norm(face.keypoints.mean(0) - true.mean(0))
    failure = "wrong place" if away > np.linalg.norm(true[1] - true[0]) else None
    return face, failure


def _face_in_rough_box(subject: Subject, picture: Tensor, scale: int, seed: int, analyzer: FaceAnalyzer) -> Face:
    box = _to_lr(rough_box(subject.target, subject.case, seed).reshape(2, 2), scale).reshape(4)
    landmarks = np.asarray(analyzer.landmarks(picture, box.astype(np.float32)), np.float32)
    size = (picture.shape[-1], picture.shape[-2])
    keypoints = five_from_dense(landmarks)
    return Face(box=box, score=0.0, keypoints=keypoints, landmarks=landmarks, image_size=size)


def _to_lr(points: np.ndarray, scale: int) -> np.ndarray:
    """Points of the 192 px photo in pixels of the photo made ``scale`` times smaller."""
    return (points + 0.5) / scale - 0.5


def _error(face: Face | None, photo: Photo, side: int, landmarks: str) -> float:
    if face is None or face.landmarks is None:
        return float("nan")
    field = SIZE if landmarks == "true" else PHOTO_SIZE
    points = (face.landmarks + 0.5) * (field / side) - 0.5 + (PHOTO_SIZE - field) / 2
    return float(landmark_error(points[None], photo.landmarks[None])[0])


def know_person(
    photos: tuple[Photo, ...], landmarks: str, encoder: IdentityEncoder, analyzer: FaceAnalyzer | None
) -> Known:
    """The references as the restoration sees them, and the pooled identity.

    With ``found`` landmarks, points of the references come from the analyzer too; a photo in which it finds no face
    keeps the keypoints of the archive.
    """
    seen = [_points(photo, landmarks, analyzer) for photo in photos]
    keypoints = torch.from_numpy(np.stack([points for points, _ in seen]).astype(np.float32))
    with torch.inference_mode():
        result = encoder.embed(torch.cat([photo.image for photo in photos]), keypoints)
    vectors, quality = result.vectors.float().cpu().clone(), result.quality.float().cpu().clone()
    inner = [photo.image[..., MARGIN:-MARGIN, MARGIN:-MARGIN] for photo in photos]
    small = torch.stack([view_small(encoder, face) for face in inner])
    identity, refused = _pooled(vectors, quality, encoder, small)
    references = tuple(
        Reference(
            name=f"{place}",
            crop=photo.image,
            landmarks=torch.as_tensor(dense, dtype=torch.float32),
            embedding=vectors[place],
            quality=float(quality[place]),
            small=small[place],
            looks=look(encoder, inner[place]),
        )
        for place, (photo, (_, dense)) in enumerate(zip(photos, seen, strict=True))
    )
    return Known(photos=references, identity=identity, encoder=encoder, refused=refused)


def _pooled(
    vectors: Tensor, quality: Tensor, encoder: IdentityEncoder, small: Tensor
) -> tuple[IdentityEmbedding, bool]:
    """The pooled identity, and whether the photos were taken for several people."""
    try:
        return pool(vectors, quality, encoder, small=small).identity, False
    except DifferentPeopleError:
        unchecked = PoolingSettings(check=False)
        return pool(vectors, quality, encoder, settings=unchecked, small=small).identity, True


def _points(photo: Photo, landmarks: str, analyzer: FaceAnalyzer | None) -> tuple[np.ndarray, np.ndarray]:
    if landmarks == "true" or analyzer is None:
        return photo.keypoints, photo.landmarks
    faces = analyzer.analyze(photo.image)
    if not faces:
        return photo.keypoints, np.asarray(analyzer.landmarks(photo.image, photo.keypoints))
    face = max(faces, key=lambda each: each.width * each.height)
    return face.keypoints, face.landmarks if face.landmarks is not None else photo.landmarks

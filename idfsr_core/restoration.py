"""The whole way for one picture: what the command line, the nodes and the tests call."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .bundle import Bundle
from .diffusion.conditioning import Conditioning
from .errors import ArgumentError
from .face_choice import find_face
from .geometry import Alignment
from .identity.embedding import IdentityEmbedding, similarity
from .identity.likeness import Likeness
from .images import check_image
from .options import RestoreOptions
from .references import PreparedReferences, embed_face, prepare_references
from .runtime import Runtime
from .steps import (
    LEAST_LR,
    WarpedSet,
    align,
    dense_landmarks,
    doubts_of_scale,
    identity_seen,
    judge_for,
    low_resolution_face,
    make_conditioning,
    make_mask,
    mask_from_picture,
    output_size,
    paste_crop,
    restore_crop,
    warp_references,
)

if TYPE_CHECKING:
    from .faces.analyzer import FaceAnalyzer
    from .faces.face import Face

__all__ = ["PreparedFace", "Restoration", "RestoreOptions", "prepare_face", "restore_crop", "restore_image"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Restoration:
    """The result for one picture and what was done to get it."""

    image: Tensor  # [1, 3, H * enlarged, W * enlarged] RGB 0..1
    crop: Tensor  # [1, 3, S, S] the restored face
    mask: Tensor  # [1, 1, S, S] what of it was rebuilt
    before: Tensor  # [1, 3, S, S] the face as it was, bicubic
    face: Face
    face_reason: str
    alignment: Alignment  # picture -> crop
    scale: float  # crop pixels per real pixel of the face
    enlarged: float  # output pixels per picture pixel
    reference: str | None  # the photo that gives style; None: no reference photos
    reference_reason: str
    reference_mirrored: bool  # its mirror image was laid on
    identity: IdentityEmbedding
    similarity_before: float  # cosine of the bundle's encoder with the identity, -1..1
    similarity_after: float
    options: RestoreOptions
    timings: dict[str, float] = field(default_factory=dict)  # seconds of each step
    warnings: tuple[str, ...] = ()

    def summary(self) -> dict[str, Any]:
        """What was done, as plain values for JSON; the pictures are left out."""
        return {
            "face": {
                "box": [round(float(v), 1) for v in self.face.box],
                "score": round(float(self.face.score), 3),
                "reason": self.face_reason,
            },
            "scale": round(self.scale, 2),
            "enlarged": round(self.enlarged, 3),
            "reference": self.reference,
            "reference_reason": self.reference_reason,
            "reference_mirrored": self.reference_mirrored,
            "identity": {"kind": self.identity.kind, "photos": self.identity.photos, "encoder": self.identity.encoder},
            "similarity_before": round(self.similarity_before, 4),
            "similarity_after": round(self.similarity_after, 4),
            "seconds": {name: round(value, 3) for name, value in self.timings.items()},
            "warnings": list(self.warnings),
        }


class Stopwatch:
    """Seconds by name, in the order in which the steps ran."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Add the time of the block to ``name``."""
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedFace:
    """One face of a picture, ready for the denoiser."""

    face: Face
    reason: str  # why this face
    alignment: Alignment
    cond: Conditioning
    warped: WarpedSet

    @property
    def keypoints(self) -> Tensor:
        """Its five keypoints in crop pixels, [5, 2] float32."""
        return torch.as_tensor(self.alignment.to_crop(self.face.keypoints), dtype=torch.float32)


def prepare_face(
    bundle: Bundle,
    image: Tensor,
    references: PreparedReferences | None,
    identity: IdentityEmbedding,
    options: RestoreOptions,
    analyzer: FaceAnalyzer | None = None,
    mask: Tensor | None = None,
) -> PreparedFace:
    """Everything up to the diffusion: find the face, cut it out, mask it, bring the references onto it.

    Args: see :func:`restore_image`.
    """
    analyzer, size, device = analyzer or bundle.analyzer, bundle.denoiser.config.size, bundle.device
    face, reason = find_face(analyzer, bundle.encoder, image, options, identity)
    alignment = align(face, size)
    lr = low_resolution_face(image, alignment, options.scale).to(device)
    landmarks = dense_landmarks(analyzer, image, face, alignment).to(device)
    if mask is None:
        region = make_mask(landmarks, size / lr.shape[-1], options, size)
    else:
        region = mask_from_picture(mask, alignment, options).to(device)
    likeness = Likeness(identity=references.identity, encoder=bundle.encoder) if references else None
    warped = warp_references(references.photos if references else (), landmarks, lr, region, options, likeness)
    cond = identity_seen(make_conditioning(lr, region, warped, identity.vector), identity, bundle.encoder, options)
    return PreparedFace(face=face, reason=reason, alignment=alignment, cond=cond, warped=warped)


def restore_image(
    bundle: Bundle,
    image: Tensor,
    references: PreparedReferences | Sequence[Tensor] | None,
    options: RestoreOptions | None = None,
    identity: IdentityEmbedding | None = None,
    runtime: Runtime | None = None,
    analyzer: FaceAnalyzer | None = None,
    mask: Tensor | None = None,
) -> Restoration:
    """Restore one face of a picture.

    Args:
        bundle: the weights, on the runtime's device.
        image: the picture, [1, 3, H, W] RGB 0..1.
        references: good photos of the person, prepared or as pictures; None or empty needs ``identity``.
        options: see :class:`RestoreOptions`.
        identity: used instead of the references' pooled identity, such as a fitted one.
        runtime: precision, progress, cancelling.
        analyzer: finds faces; None takes the bundle's.
        mask: [1, 1, H, W] over the picture, what is to be rebuilt, instead of the one drawn from landmarks.

    Raises:
        FaceNotFoundError, AmbiguousFaceError: which face is meant is not clear.
        EncoderMismatchError: ``identity`` was made by another encoder than the bundle's.
        DifferentPeopleError: the references do not show one person.
        ImageError, ArgumentError: something is out of its range.
    """
    options, runtime, clock = options or RestoreOptions(), runtime or Runtime(), Stopwatch()
    check_image(image, "picture")
    with clock.step("references"):
        photos = _prepared(bundle, analyzer, references, runtime)
        known = known_identity(bundle, photos, identity)
    with clock.step("find, crop, warp"):
        ready = prepare_face(bundle, image, photos, known, options, analyzer, mask)
    with clock.step("diffusion"):
        crop = restore_crop(bundle.denoiser, ready.cond, options, runtime, judge=judge_for(known.photos, bundle.judge))
    with clock.step("paste"):
        size = output_size(ready.alignment, options.enlarge)
        pasted = paste_crop(image, crop, ready.alignment, size, options.paste_feather, ready.cond.mask)
    with clock.step("measure"):
        person = photos.identity if photos else known
        before, after = (_similarity(bundle, each, ready, person) for each in (ready.cond.upsampled, crop))
    runtime.check()
    return Restoration(
        image=pasted,
        crop=crop,
        mask=ready.cond.mask,
        before=ready.cond.upsampled,
        face=ready.face,
        face_reason=ready.reason,
        alignment=ready.alignment,
        scale=ready.cond.scale,
        enlarged=size[0] / image.shape[-1],
        reference=ready.warped.names[0] if ready.warped.names else None,
        reference_reason=ready.warped.reasons[0] if ready.warped.names else "no reference photos",
        reference_mirrored=any(ready.warped.mirrored[:1]),
        identity=known,
        similarity_before=before,
        similarity_after=after,
        options=options,
        timings=clock.seconds,
        warnings=(*(photos.notes if photos else ()), *_warnings(ready, size, before, after)),
    )


def known_identity(
    bundle: Bundle, references: PreparedReferences | None, identity: IdentityEmbedding | None
) -> IdentityEmbedding:
    """The given identity, if the bundle's encoder made it, or else the references' pooled one."""
    if identity is None:
        if references is None:
            raise ArgumentError("references", "none, and no identity", "give photos of the person or an identity")
        return references.identity
    identity.check_encoder(bundle.encoder)
    return identity


def _prepared(
    bundle: Bundle,
    analyzer: FaceAnalyzer | None,
    references: PreparedReferences | Sequence[Tensor] | None,
    runtime: Runtime,
) -> PreparedReferences | None:
    if references is None or isinstance(references, PreparedReferences):
        return references
    if not len(references):
        return None
    photos = ((f"reference {index + 1}", photo) for index, photo in enumerate(references))
    return prepare_references(
        analyzer or bundle.analyzer, bundle.encoder, photos, runtime.check, bundle.denoiser.config.size
    )


def _similarity(bundle: Bundle, crop: Tensor, ready: PreparedFace, person: IdentityEmbedding) -> float:
    """Cosine between a crop's embedding and the person's, -1..1."""
    vector, _ = embed_face(bundle.encoder, crop, ready.keypoints)
    return float(similarity(vector, person.vector).clamp(-1, 1))


def _warnings(ready: PreparedFace, size: tuple[int, int], before: float, after: float) -> list[str]:
    """What the user should know before believing the result."""
    found, alignment = doubts_of_scale(ready.cond.scale), ready.alignment
    if alignment.scale > alignment.size / LEAST_LR:
        found.append(f"the face is less than {LEAST_LR} px wide: the picture says next to nothing about it")
    if size[0] / alignment.image_size[0] < alignment.scale * 0.75:
        found.append(
            f"the picture is written at {size[0]}x{size[1]}, where the face cannot show all of its"
            f" {alignment.size} px; the crop has them"
        )
    if float(alignment.coverage().mean()) < 0.9:
        found.append("the face reaches beyond the picture's edge; what lies outside is made up")
    if after <= before:
        found.append(f"identity similarity did not grow ({before:.2f} to {after:.2f}): look at the result with doubt")
    return found

"""The steps of a restoration, one function each; :mod:`idfsr_core.restoration` calls them in order.

find_face -> align -> low_resolution_face -> dense_landmarks -> make_mask -> warp_references -> make_conditioning ->
identity_seen -> restore_crop -> paste_crop
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .diffusion.composite import lay_on
from .diffusion.conditioning import Conditioning, upsample
from .diffusion.sampling import SamplingSettings, sample
from .diffusion.steering import steer
from .errors import ImageError
from .geometry import Alignment, similarity_from_points, transform_points
from .identity.glimpse import glimpsed, seen_alike
from .identity.photo_match import suiting
from .masking import face_mask, soft_mask, user_mask
from .merging import agreed_detail, agreement
from .options import RestoreOptions
from .pasting import PasteLook, paste_face
from .references import Reference, mirrored
from .runtime import Runtime
from .warping import ReferenceChoice, WarpedReference, choose_reference, keypoints_of, refine_warp, warp_reference

if TYPE_CHECKING:
    from .diffusion.denoiser import Denoiser
    from .diffusion.judge import Judge
    from .faces.analyzer import FaceAnalyzer
    from .faces.face import Face
    from .identity.embedding import IdentityEmbedding
    from .identity.encoders import IdentityEncoder
    from .identity.likeness import Likeness

LEAST_LR = 3  # pixels of the low-resolution face below which nothing is left to be consistent with
LEARNED_SCALE = 6.0  # the model learned 8x to 32x; below this it is off that ground
SHARP_SCALE = 4.0  # below this scale the picture knows the face better than any reference
LARGEST_SIDE = 4096  # to which a picture is enlarged unasked
STEERING_ALONE = 4  # steps of steering, at most, towards the vector of a single photo
MOST_COMPARED = 8  # photos whose composites are looked at
SEEN_ALIKE = 0.5  # eye distances of landmarks that a photo may be off for looking, made as small, wholly like the face


def align(face: Face, size: int = 128) -> Alignment:
    """The place of the face's FFHQ-style crop in its picture."""
    return Alignment.from_keypoints(face.keypoints, face.image_size, size)


def lr_size(alignment: Alignment, scale: float | None = None) -> int:
    """Side of the low-resolution face in real pixels: the crop's side over its scale, 3 px to the crop's side.

    Args:
        alignment: the crop's place; ``alignment.scale`` is crop pixels per picture pixel.
        scale: crop pixels per real pixel where the picture itself was enlarged before; None: the alignment's.
    """
    return min(max(round(alignment.size / (scale or alignment.scale)), LEAST_LR), alignment.size)


def low_resolution_face(image: Tensor, alignment: Alignment, scale: float | None = None) -> Tensor:
    """The face in the picture's own resolution, [1, 3, h, h] with h = :func:`lr_size`.

    The crop of a small face is an enlargement by a factor that is no whole number. What the picture knows of the face
    are its own pixels, turned upright and resampled about one to one: that, and no more, the result must agree with.
    """
    return alignment.resized(lr_size(alignment, scale)).crop(image)


def dense_landmarks(analyzer: FaceAnalyzer, image: Tensor, face: Face, alignment: Alignment) -> Tensor:
    """68 landmarks of the face in crop pixels, [1, 68, 2] float32."""
    dense = face.landmarks if face.landmarks is not None else analyzer.landmarks(image, face.keypoints)
    return torch.as_tensor(alignment.to_crop(np.asarray(dense)), dtype=torch.float32)[None]


def make_mask(landmarks: Tensor, scale: float, options: RestoreOptions, size: int = 128) -> Tensor:
    """What of the crop is forgotten, [1, 1, S, S] in 0..1, from landmarks [1, 68, 2] in crop pixels."""
    mask = face_mask(
        landmarks, size, grow=options.mask_grow, feather=options.mask_feather, forehead=options.mask_forehead
    )
    return soft_mask(mask, scale, options.mask_mode)


def mask_from_picture(mask: Tensor, alignment: Alignment, options: RestoreOptions) -> Tensor:
    """A mask drawn over the whole picture, [1, 1, H, W] in 0..1, cut out and treated as :func:`make_mask`'s."""
    cut = alignment.crop(mask, padding="zeros", mode="bilinear")
    return user_mask(cut, alignment.size, grow=options.mask_grow, feather=options.mask_feather)


@dataclass(frozen=True, kw_only=True, eq=False)
class WarpedSet:
    """The references on the face, the best fitting first."""

    names: tuple[str, ...]
    reasons: tuple[str, ...]
    mirrored: tuple[bool, ...]  # whether it is the photo's mirror image
    style: Tensor  # [1, 3, S, S] the best one, as ``warp_method`` brings it; zeros with K = 0
    style_coverage: Tensor  # [1, 1, S, S]
    images: Tensor  # [1, K, 3, S, S] all of them, as ``reference_warp`` brings them
    coverages: Tensor  # [1, K, 1, S, S]


def warp_references(
    photos: Sequence[Reference],
    landmarks: Tensor,
    lr: Tensor,
    mask: Tensor,
    options: RestoreOptions,
    likeness: Likeness | None = None,
) -> WarpedSet:
    """Choose the best fitting references by pose, expression and likeness and bring each onto the face.

    Args:
        photos: the prepared photos; with none the set has K = 0.
        landmarks: of the low-resolution face, [1, 68, 2] in crop pixels.
        lr: [1, 3, h, h], for the refinement.
        mask: [1, 1, S, S], for the refinement.
        options: ``warp_method``, ``reference_warp``, ``refine``, ``max_references``, ``likeness``, ``mirror``,
            ``merge`` and ``glimpse`` are read.
        likeness: who the person is; None chooses by pose and expression alone.
    """
    size = mask.shape[-1]
    if not photos:
        return _no_references(mask)
    photos = _or_mirrored(photos, landmarks, options.mirror)
    choice = choose_reference(landmarks[0], torch.stack([photo.landmarks for photo in photos]))
    if likeness is not None and options.likeness and len(photos) > 1:
        choice = _most_alike(choice, photos, landmarks, lr, mask, options, likeness)
    chosen = [photos[index] for index in choice.order[: options.max_references]]
    if options.refine:
        landmarks = refine_landmarks(chosen[0], landmarks, lr, mask)
    others = [photos[index] for index in choice.order[1:MOST_COMPARED]]
    share = options.merge * agreement(len(others))
    methods = {options.warp_method, options.reference_warp}
    best = {method: _merged(chosen[0], others, landmarks, size, method, share) for method in methods}
    style = best[options.warp_method]
    further = [_warp(photo, landmarks, size, options.reference_warp) for photo in chosen[1:]]
    seen = [best[options.reference_warp], *further]
    reasons = [
        f"mirrored; {reason}" if photo.mirrored else reason
        for photo, reason in zip(chosen, choice.reasons, strict=False)
    ]
    if share:
        reasons[0] += f"; {len(others)} more merged in"
    return WarpedSet(
        names=tuple(photo.name for photo in chosen),
        reasons=tuple(reasons),
        mirrored=tuple(photo.mirrored for photo in chosen),
        style=style.image,
        style_coverage=style.coverage,
        images=torch.stack([each.image for each in seen], 1),
        coverages=torch.stack([each.coverage for each in seen], 1),
    )


def _no_references(mask: Tensor) -> WarpedSet:
    """The set with K = 0 of a face whose mask is [1, 1, S, S]."""
    nothing, none = torch.zeros_like(mask), mask.new_zeros(1, 0, *mask.shape[1:])
    return WarpedSet(
        names=(),
        reasons=(),
        mirrored=(),
        style=nothing.expand(-1, 3, -1, -1),
        style_coverage=nothing,
        images=none.expand(-1, -1, 3, -1, -1),
        coverages=none,
    )


def _merged(
    photo: Reference, others: Sequence[Reference], landmarks: Tensor, size: int, method: str, share: float
) -> WarpedReference:
    """A photo on the face, with a share of what the person's other photos agree on."""
    warped = _warp(photo, landmarks, size, method)
    if not share:
        return warped
    own = photo.landmarks[None].to(landmarks)
    # A similarity leaves the photo's features beside those of the face, and the other photos follow it there.
    place = transform_points(similarity_from_points(own, landmarks), own) if method == "similarity" else landmarks
    bent = [_warp(other, place, size, "tps") for other in others]
    images, coverages = (torch.cat([getattr(each, name) for each in bent]) for name in ("image", "coverage"))
    detail = agreed_detail(warped.image[0], images, coverages)
    return replace(warped, image=(warped.image + share * detail).clamp(0, 1))


def _or_mirrored(photos: Sequence[Reference], landmarks: Tensor, margin: float) -> list[Reference]:
    """Each photo, or its mirror image where that fits the face better by ``margin`` eye distances; 1: never.

    A head turned to the one side does not fit a face turned to the other, and no warp of ours turns it. Its mirror
    image does, at the price of moles and partings on the wrong side; so it has to fit clearly better.
    """
    if margin >= 1:
        return list(photos)
    images = [mirrored(photo) for photo in photos]
    choice = choose_reference(landmarks[0], torch.stack([photo.landmarks for photo in (*photos, *images)]))
    apart = [residual for _, residual in sorted(zip(choice.order, choice.residuals, strict=True))]
    better = [turn + margin < plain for plain, turn in zip(apart[: len(photos)], apart[len(photos) :], strict=True)]
    return [images[place] if better[place] else photo for place, photo in enumerate(photos)]


def _most_alike(
    choice: ReferenceChoice,
    photos: Sequence[Reference],
    landmarks: Tensor,
    lr: Tensor,
    mask: Tensor,
    options: RestoreOptions,
    likeness: Likeness,
) -> ReferenceChoice:
    """Order the best fitting references anew, by what their composites look like too.

    Sunglasses, a strange light or an untypical photo show only when the photo lies on the face: of the composites that
    the photos make, the one most like the person is the better start. So is the photo that looks most like the face
    once it is as small: it may show the person at that age, with that beard, in that mood. What the encoder sees on the
    way to its vector tells more of that (ours; figures in docs/RESULTS.md).
    """
    near = choice.order[:MOST_COMPARED]
    warped = [_warp(photos[index], landmarks, mask.shape[-1], options.warp_method) for index in near]
    images, coverages = (torch.cat([getattr(each, name) for each in warped]) for name in ("image", "coverage"))
    count = len(near)
    faces = lay_on(lr.expand(count, -1, -1, -1), mask.expand(count, -1, -1, -1), images, coverages)
    alike = likeness.of(faces, keypoints_of(landmarks).expand(count, -1, -1))
    small, suits = [0.0] * count, [0.0] * count
    if options.glimpse:
        enlarged, side, encoder = upsample(lr, mask.shape[-1]).clamp(0, 1), lr.shape[-1], likeness.encoder
        small = seen_alike(enlarged, side, [photos[index].small for index in near], encoder)
        looks = [photos[index].looks for index in near]
        suits = suiting(enlarged, side, [None if each is None else each[0] for each in looks], encoder)
    score = [
        residual - options.likeness * whole - options.glimpse * (SEEN_ALIKE * seen + suit)
        for residual, whole, seen, suit in zip(choice.residuals, alike, small, suits, strict=False)
    ]
    order = sorted(range(count), key=score.__getitem__)
    words = [f"alike {whole:.2f}" for whole in alike]
    words = [f"{word}, as small {seen:.2f}" if any(small) else word for word, seen in zip(words, small, strict=True)]
    words = [f"{word}, suits {suit:+.2f}" if any(suits) else word for word, suit in zip(words, suits, strict=True)]
    reasons = [f"{choice.reasons[place]}; {words[place]}" for place in order]
    return ReferenceChoice(
        order=[near[place] for place in order] + choice.order[count:],
        residuals=[choice.residuals[place] for place in order] + choice.residuals[count:],
        reasons=reasons + choice.reasons[count:],
    )


def refine_landmarks(photo: Reference, landmarks: Tensor, lr: Tensor, mask: Tensor) -> Tensor:
    """Landmarks [1, 68, 2] moved by the similarity under which the photo's low band agrees best with the LR pixels."""
    warped = _warp(photo, landmarks, mask.shape[-1], "similarity")
    return transform_points(refine_warp(warped, lr, mask).matrix.to(landmarks), landmarks)


def _warp(photo: Reference, landmarks: Tensor, size: int, method: str) -> WarpedReference:
    return warp_reference(photo.crop.to(landmarks), photo.landmarks[None].to(landmarks), landmarks, size, method)


def make_conditioning(lr: Tensor, mask: Tensor, warped: WarpedSet, identity: Tensor) -> Conditioning:
    """Everything the denoiser sees: the best reference is the style, all of them are the person.

    Args:
        lr: [1, 3, h, h].
        mask: [1, 1, S, S].
        warped: see :func:`warp_references`.
        identity: [D].
    """
    count = warped.images.shape[1]
    return Conditioning(
        lr=lr,
        mask=mask,
        style=warped.style,
        style_coverage=warped.style_coverage,
        references=warped.images,
        reference_coverage=warped.coverages,
        reference_valid=torch.ones(1, count, dtype=torch.bool, device=mask.device),
        identity=identity[None].to(mask),
    )


def identity_seen(
    cond: Conditioning, identity: IdentityEmbedding, encoder: IdentityEncoder, options: RestoreOptions
) -> Conditioning:
    """The same conditions with a person's identity, moved to what the small pictures show of them."""
    vectors = glimpsed(identity, cond.upsampled, cond.lr.shape[-1], encoder, options.glimpse)
    return cond.with_identity(vectors.to(cond.mask))


def restore_crop(
    denoiser: Denoiser,
    cond: Conditioning,
    options: RestoreOptions | None = None,
    runtime: Runtime | None = None,
    *,
    judge: Judge | None = None,
    same_noise: bool = False,
) -> Tensor:
    """Run the diffusion for one face or a batch, and steer what comes out: [B, 3, S, S] in 0..1.

    Face i of a batch starts from the noise of ``options.seed + i``, with ``same_noise`` all of them from that of the
    seed. Without a ``judge`` (see ``Bundle.judge``), or where ``options.identity_guidance`` leaves the identity out,
    the denoiser goes by the vector alone and nothing is steered.
    """
    options = options or RestoreOptions()
    settings = SamplingSettings(
        steps=options.steps,
        style_guidance=options.style_guidance,
        identity_guidance=options.identity_guidance,
        consistency=options.consistency,
        scheduler=options.scheduler,
        seed=options.seed,
        same_noise=same_noise,
    )
    with torch.inference_mode():
        restored = sample(denoiser, cond, settings, runtime, judge)
    return steered(restored, cond, options, judge, runtime)


def judge_for(photos: int, judge: Judge | None) -> Judge | None:
    """The judge for an identity of so many photos; of one photo, a judge who does not lead the denoiser.

    A single photo's vector says hardly more than that photo shows already. A denoiser led towards it makes faces less
    like the person; what a few small steps of steering still gain is what the small picture shows (docs/RESULTS.md).
    """
    return judge if judge is None or photos > 1 else replace(judge, leads=False)


def steered(
    faces: Tensor, cond: Conditioning, options: RestoreOptions, judge: Judge | None, runtime: Runtime | None = None
) -> Tensor:
    """Restored faces [B, 3, S, S] moved towards the identity, where somebody can judge that and it is asked for."""
    if judge is None or not options.identity_guidance:
        return faces
    steps = options.steering if judge.leads else min(options.steering, STEERING_ALONE)
    return steer(faces, cond.mask, cond.identity, judge, steps, runtime)


def doubts_of_scale(scale: float) -> list[str]:
    """What the user should know of a restoration at a scale (crop pixels per real pixel), in words."""
    if scale < SHARP_SCALE:
        return [f"scale is {scale:.1f}x: the face is already sharp; restoring it can only replace detail"]
    if scale < LEARNED_SCALE:
        return [f"scale is {scale:.1f}x, milder than what the model learned: mouth and eyes may follow the reference"]
    return []


def output_size(alignment: Alignment, enlarge: float | None = None) -> tuple[int, int]:
    """(width, height) of the picture after restoring: as large as the face's new detail needs, within 4096 px.

    Raises:
        ImageError: the asked enlargement makes a picture that is too large.
    """
    width, height = alignment.image_size
    if enlarge is None:
        enlarge = max(1.0, min(round(alignment.scale), LARGEST_SIDE / max(width, height)))
    elif max(width, height) * enlarge > 4 * LARGEST_SIDE:
        value = f"{width}x{height} pixels enlarged {enlarge:g}x"
        raise ImageError("output picture", value, f"choose --enlarge so that no side exceeds {4 * LARGEST_SIDE} px")
    return round(width * enlarge), round(height * enlarge)


def paste_crop(
    image: Tensor,
    crop: Tensor,
    alignment: Alignment,
    size: tuple[int, int],
    feather: float,
    mask: Tensor | None = None,
) -> Tensor:
    """Lay the restored face over its picture, enlarged to ``size`` (width, height).

    Args:
        image: [1, 3, H, W].
        crop: [1, 3, S, S].
        alignment: the crop's place in ``image``.
        size: of the result; the picture's own size leaves every pixel beyond the crop as it is.
        feather: fraction of the crop's side over which it fades into the picture.
        mask: [1, 1, S, S], what of the crop is the face: around it an enlarged picture agrees with its own pixels, see
            :func:`idfsr_core.pasting.agree_around`. None: all of the crop.
    """
    return paste_face(image, crop, alignment, size, PasteLook(feather=feather), face=mask)[0]


def enlarged_alignment(alignment: Alignment, size: tuple[int, int]) -> Alignment:
    """The crop's place in the picture once that is resized to ``size`` (width, height)."""
    return alignment.in_resized(size)

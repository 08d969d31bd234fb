"""The steps of a restoration for batches: one picture after the other, results in one tensor of known size.

Of each picture one face is meant, or None: such an entry goes through every step as a placeholder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .diffusion.conditioning import upsample
from .diffusion.recovery import lr_from_crop
from .errors import ArgumentError
from .faces.face import Face
from .geometry import Alignment
from .identity.likeness import Likeness
from .masking import mask_strength, user_mask
from .options import RestoreOptions
from .references import PreparedReferences
from .steps import WarpedSet, align, low_resolution_face, lr_size, make_mask, mask_from_picture, warp_references

if TYPE_CHECKING:
    from .identity.encoders import IdentityEncoder

GREY = 0.5  # what stands for a forgotten or missing pixel
CROP = 128  # pixels: side of the crops for the shipped model
_SCALES = (1.0, 64.0)

Check = Callable[[], None]
"""Called before each picture; may raise to stop."""


def _no_check() -> None:
    """Go on."""


# --- crops ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Crops:
    """The faces of a batch, cut out."""

    images: Tensor  # [B, 3, S, S] in 0..1 on the CPU; grey where there is no face
    alignments: tuple[Alignment | None, ...]
    scales: tuple[float, ...]  # crop pixels per real pixel; 1 where there is no face

    @property
    def mean_scale(self) -> float:
        """Over the faces that are there; 1 without any."""
        known = [scale for scale, item in zip(self.scales, self.alignments, strict=True) if item is not None]
        return sum(known) / len(known) if known else 1.0


def crop_faces(
    images: Tensor, faces: Sequence[Face | None], scale: float | None = None, size: int = CROP, check: Check = _no_check
) -> Crops:
    """Cut each face out of its picture, in the pixels that the picture really has, and enlarge it bicubically.

    Args:
        images: the pictures, [B, 3, H, W] in 0..1.
        faces: one of each picture, or None.
        scale: crop pixels per real pixel, 1 to 64, where the pictures were enlarged before; None: from each face's
            size.
        size: side S of the crops.

    Raises:
        ArgumentError: faces and pictures of different number or size, or a scale out of its range.
    """
    _check_faces(images, faces)
    if scale is not None and not _SCALES[0] <= scale <= _SCALES[1]:
        raise ArgumentError("scale", scale, "use 0 (from the face's size), or 1 to 64 crop pixels per real pixel")
    out = torch.full((len(images), 3, size, size), GREY)
    alignments: list[Alignment | None] = []
    scales: list[float] = []
    for index, face in enumerate(faces):
        check()
        alignment = align(face, size) if face is not None else None
        alignments.append(alignment)
        scales.append(1.0 if alignment is None else size / lr_size(alignment, scale))
        if alignment is not None:
            small = low_resolution_face(images[index : index + 1], alignment, scale)
            out[index] = upsample(small, size)[0].clamp(0, 1)
    return Crops(images=out, alignments=tuple(alignments), scales=tuple(scales))


def _check_faces(images: Tensor, faces: Sequence[Face | None]) -> None:
    if len(images) != len(faces):
        value = f"{len(images)} pictures, but the faces are of {len(faces)}"
        raise ArgumentError("image", value, "connect the pictures in which the faces were found")
    size = (images.shape[-1], images.shape[-2])
    for index, face in enumerate(faces):
        if face is not None and tuple(face.image_size) != size:
            found = "{}x{}".format(*face.image_size)
            value = f"{size[0]}x{size[1]} pixels, but face {index} was found in {found} pixels"
            raise ArgumentError("image", value, "connect the pictures in which the faces were found")


def side_of(alignments: Sequence[Alignment | None], otherwise: int = CROP) -> int:
    """Side S of the crops that lie there; ``otherwise`` where no picture has a face."""
    return next((item.size for item in alignments if item is not None), otherwise)


def check_crops(crops: Tensor, count: int, size: int = CROP) -> None:
    """Raise ArgumentError unless these are ``count`` crops [count, 3, S, S]."""
    if len(crops) != count or crops.shape[-2:] != (size, size):
        value = f"{len(crops)} of {crops.shape[-1]}x{crops.shape[-2]} pixels for {count} faces"
        raise ArgumentError("crop", value, f"connect what Crop Face gave for these faces: {size}x{size} pixels each")


# --- masks ------------------------------------------------------------------------------------------------------------


def mask_faces(
    alignments: Sequence[Alignment | None],
    scales: Sequence[float],
    faces: Sequence[Face | None],
    options: RestoreOptions,
    size: int = CROP,
) -> Tensor:
    """What of each crop is forgotten, from the face's landmarks: [B, 1, S, S], 0 where there is no face.

    Args:
        alignments, scales: of the crops, see :class:`Crops`.
        faces: the faces they show.
        options: ``mask_*`` are read.
    """
    if len(alignments) != len(faces):
        value = f"of {len(faces)} pictures, but the crops are {len(alignments)}"
        raise ArgumentError("face", value, "connect the same face that went into Crop Face")
    masks = torch.zeros(len(alignments), 1, size, size)
    for index, (alignment, face) in enumerate(zip(alignments, faces, strict=True)):
        if alignment is None or face is None:
            continue
        if tuple(face.image_size) != tuple(alignment.image_size):
            value = f"found in {face.image_size} pixels, but the crop is of {alignment.image_size}"
            raise ArgumentError("face", value, "connect the same face that went into Crop Face")
        masks[index] = make_mask(_landmarks(face, alignment), scales[index], options, size)[0]
    return masks


def strength_note(scales: Sequence[float], mode: str) -> str:
    """How much of the faces a mask of this mode forgets, in words; "" where it is all."""
    weakest, strongest = (float(mask_strength(scale)) for scale in (min(scales), max(scales)))
    if mode == "hard" or weakest >= 1:
        return ""
    share = f"{weakest:.0%}" + (f" to {strongest:.0%}" if strongest - weakest >= 0.01 else "")
    mild = f"at this mild scale ({min(scales):.1f}x) {mode} forgets {share} of the face's pixels"
    return f'{mild}; choose "hard" to rebuild it altogether'


def _landmarks(face: Face, alignment: Alignment) -> Tensor:
    """68 landmarks [1, 68, 2] in crop pixels."""
    if face.landmarks is None:
        raise ArgumentError("face", "without landmarks", "find it with Detect Faces")
    return torch.as_tensor(alignment.to_crop(face.landmarks), dtype=torch.float32)[None]


@dataclass(frozen=True, kw_only=True)
class CutMasks:
    """The user's masks in the pixels of the crops."""

    masks: Tensor  # [B, 1, S, S] in 0..1
    note: str  # what was done with them, in words


def cut_masks(
    mask: Tensor, alignments: Sequence[Alignment | None], options: RestoreOptions, size: int = CROP
) -> CutMasks:
    """The user's masks, drawn over the whole pictures or over the crops, grown and feathered.

    A mask of the pictures' size is cut out where the face is, one of the crops' size is taken as it lies; another one
    is resized to what its shape is nearer to, and the note says so.

    Args:
        mask: [B, 1, h, w], or [1, 1, h, w] for all crops.
        alignments: of the crops.
        options: ``mask_grow`` and ``mask_feather`` are read.

    Raises:
        ArgumentError: masks and crops of different number, or nothing painted on any face.
    """
    if len(mask) not in (1, len(alignments)):
        value = f"{len(mask)} masks for {len(alignments)} crops"
        raise ArgumentError("mask", value, "connect one mask for all, or one for each")
    known = [item for item in alignments if item is not None]
    masks = torch.zeros(len(alignments), 1, size, size)
    if not known:
        return CutMasks(masks=masks, note="no face in any picture")
    whole, note = _whole_picture(mask, known[0].image_size, size)
    for index, alignment in enumerate(alignments):
        if alignment is not None:
            own = mask[index % len(mask)][None]
            masks[index] = _cut_mask(own, alignment, options, size, whole)[0]
    if float(masks.max()) == 0:
        raise ArgumentError("mask", "nothing painted on any face", "paint over the face, or connect the face instead")
    return CutMasks(masks=masks, note=note)


def _cut_mask(mask: Tensor, alignment: Alignment, options: RestoreOptions, size: int, whole: bool) -> Tensor:
    if not whole:
        return user_mask(mask, size, grow=options.mask_grow, feather=options.mask_feather)
    width, height = alignment.image_size
    if mask.shape[-2:] != (height, width):
        mask = torch.nn.functional.interpolate(mask, (height, width), mode="bilinear", antialias=True).clamp(0, 1)
    return mask_from_picture(mask, alignment, options)


def _whole_picture(mask: Tensor, picture: tuple[int, int], size: int) -> tuple[bool, str]:
    """Whether a mask lies over the whole picture (width, height) or over the crop, and that in words."""
    height, width = mask.shape[-2:]
    told = f"mask of {width}x{height} pixels"
    if (width, height) == picture:
        return True, f"{told}: as large as the picture; cut out where the face is"
    if (width, height) == (size, size):
        return False, f"{told}: as large as the crop; taken as it lies"
    whole = _unlike((width, height), picture) <= _unlike((width, height), (size, size))
    target = picture if whole else (size, size)
    what = "picture and cut out where the face is" if whole else "crop"
    return whole, f"{told}: resized to the {target[0]}x{target[1]} pixels of the {what}"


def _unlike(first: tuple[int, int], second: tuple[int, int]) -> float:
    """How far apart two sizes are: the aspect first of all, then the area."""
    ratios = torch.tensor([a / b for a, b in zip(first, second, strict=True)]).log()
    return 10 * float((ratios[0] - ratios[1]).abs()) + float(ratios.mean().abs())


def forget(crops: Tensor, masks: Tensor) -> Tensor:
    """The crops [B, 3, S, S] with grey where the masks [B, 1, S, S] let forget, for the eye."""
    return crops + masks.to(crops) * (GREY - crops)


# --- references -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class WarpedBatch:
    """K references on each of B faces, face after face, the best fitting first."""

    images: Tensor  # [B * K, 3, S, S] in 0..1; black where there is no face
    coverages: Tensor  # [B * K, 1, S, S] in 0..1; 0 where there is no face
    which: tuple[str, ...]  # for each face: the photos' names and reasons, in words

    @property
    def count(self) -> int:
        """K."""
        return len(self.images) // max(len(self.which), 1)


def only_photo(photos: PreparedReferences, name: str) -> PreparedReferences:
    """One of the photos, by its name.

    Raises:
        ArgumentError: it was left out, or there is none of that name.
    """
    found = [photo for photo in photos.photos if photo.name == name]
    if not found:
        left = "; ".join(note for note in photos.notes if note.startswith(f"{name} ")) or f"no {name}"
        raise ArgumentError("index", left, f"use the number of one of these: {', '.join(photos.names)}")
    return replace(photos, photos=tuple(found))


def warp_onto_faces(
    photos: PreparedReferences,
    faces: Sequence[Face | None],
    options: RestoreOptions,
    crops: Tensor | None = None,
    size: int = CROP,
    check: Check = _no_check,
    encoder: IdentityEncoder | None = None,
) -> WarpedBatch:
    """Bring the best fitting references onto each face.

    Args:
        photos: the prepared photos.
        faces: one of each picture, or None.
        options: ``reference_warp``, ``max_references``, ``likeness``, ``mirror``, ``merge``, ``glimpse``,
            ``refine`` and ``mask_*`` are read.
        crops: [B, 3, S, S] by :func:`crop_faces`, whose pixels the photos are tried on; without them pose and
            expression alone decide.
        size: side S of the crops.
        encoder: the one that pooled the photos, to tell which of them makes the face most like the person.
    """
    count = min(options.max_references, len(photos.photos))
    images, coverages = torch.zeros(len(faces) * count, 3, size, size), torch.zeros(len(faces) * count, 1, size, size)
    if options.refine and crops is None:
        raise ArgumentError("refine", "on, and no crop", "connect the crop of Crop Face, or switch refine off")
    if crops is not None:
        check_crops(crops, len(faces), size)
    likeness = (
        Likeness(identity=photos.identity, encoder=encoder) if encoder is not None and crops is not None else None
    )
    which = []
    for index, face in enumerate(faces):
        check()
        if face is None:
            which.append("no face: black, not covered")
            continue
        crop = crops[index : index + 1] if crops is not None else None
        warped = _warp_onto(photos, face, options, crop, size, likeness)
        place = slice(index * count, (index + 1) * count)
        images[place], coverages[place] = warped.images[0], warped.coverages[0]
        which.append("; then ".join(f"{n}: {r}" for n, r in zip(warped.names, warped.reasons, strict=True)))
    return WarpedBatch(images=images.clamp_(0, 1), coverages=coverages, which=tuple(which))


def _warp_onto(
    photos: PreparedReferences,
    face: Face,
    options: RestoreOptions,
    crop: Tensor | None,
    size: int,
    likeness: Likeness | None,
) -> WarpedSet:
    alignment = align(face, size)
    points = _landmarks(face, alignment)
    small = lr_size(alignment)
    lr = torch.zeros(1, 3, small, small) if crop is None else lr_from_crop(crop.float().cpu(), small)
    mask = make_mask(points, size / small, options, size)
    return warp_references(photos.photos, points, lr, mask, options, likeness)

"""A batch of restored crops back into its pictures, which may have been resized since they were cropped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .colour import match_colour
from .errors import ArgumentError, ImageError
from .geometry import Alignment
from .images import MAX_SIDE
from .options import RestoreOptions
from .runtime import Runtime

LARGEST_SIDE = 4096  # pixels, to which pictures are enlarged unasked
LARGEST_BATCH = 256 * 10**6  # pixels of all pictures of a batch together, to which they are enlarged unasked: 3 GB
MOST_BATCH = 2 * 10**9  # pixels that may be asked for: 24 GB
_ROUNDS = 3  # of back-projection; the third gains .2 dB at 16x and .4 dB at 32x


def fit_alignment(alignment: Alignment, size: tuple[int, int]) -> Alignment:
    """The crop's place in the same picture at another size (width, height).

    Raises:
        ArgumentError: the size has another aspect, by more than the rounding of a side explains.
    """
    width, height = alignment.image_size
    if size == (width, height):
        return alignment
    if abs(size[0] / width - size[1] / height) > 1 / width + 1 / height:
        value = f"{size[0]}x{size[1]} pixels, where the face was cropped out of {width}x{height}"
        raise ArgumentError("image", value, "connect the picture that Crop Face got, or an enlargement of all of it")
    return alignment.in_resized(size)


def pasted_size(
    alignments: Sequence[Alignment | None], size: tuple[int, int], crop_side: int, enlarge: float | None = None
) -> tuple[int, int]:
    """(width, height) of the pictures of a batch after pasting; all of them are of one size.

    Args:
        alignments: the crops' places; None: nothing is pasted there.
        size: (width, height) of the pictures as they are.
        crop_side: of the crops in pixels: with 512 px there is more to show than with 128.
        enlarge: 1 or more; None: by the whole number that gives the crop with the most to show its room, within
            :data:`LARGEST_SIDE` and :data:`LARGEST_BATCH`.

    Raises:
        ImageError: the asked enlargement makes pictures that are too large.
    """
    width, height = size
    if enlarge is None:
        places = [fit_alignment(each, size) for each in alignments if each is not None]
        gains = [each.scale * crop_side / each.size for each in places]
        room = min(LARGEST_SIDE / max(size), (LARGEST_BATCH / (len(alignments) * width * height)) ** 0.5)
        enlarge = max(1.0, min(round(max(gains, default=1.0)), room if len(alignments) == 1 else int(room)))
    grown = round(width * enlarge), round(height * enlarge)
    if max(grown) > MAX_SIDE or grown[0] * grown[1] * len(alignments) > MOST_BATCH:
        value = f"{enlarge:g} on {len(alignments)} of {width}x{height} pixels makes {grown[0]}x{grown[1]}"
        raise ImageError("enlarge", value, f"choose less: at most {MAX_SIDE} px a side, and fewer pictures at a time")
    return grown


@dataclass(frozen=True, kw_only=True)
class PasteLook:
    """How a crop is laid over its picture."""

    feather: float = RestoreOptions.paste_feather
    """Fraction of the crop's side over which it fades at its border, 0 to 0.5."""
    colour: str = "none"
    """See :func:`idfsr_core.colour.match_colour`."""


def paste_faces(
    images: Tensor,
    crops: Tensor,
    alignments: Sequence[Alignment | None],
    size: tuple[int, int],
    look: PasteLook | None = None,
    masks: Tensor | None = None,
    scales: Sequence[float] | None = None,
    runtime: Runtime | None = None,
    faces: Tensor | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """:func:`paste_face` for picture after picture, so that a long batch is nowhere held twice.

    Args:
        images: [B, 3, H, W]; crops: [B, 3, S, S]; alignments: B of them; see :func:`check_batch`.
        size: of the results, by :func:`pasted_size`.
        masks: [B or 1, 1, h, w], over the crops or as large as the pictures.
        scales: B of them, crop pixels per real pixel; None: the alignments'.
        runtime: progress and cancelling, asked before each picture.
        faces: like ``masks``: what of the crops is the face.
    """
    runtime = runtime or Runtime()
    for index, alignment in enumerate(alignments):
        runtime.check()
        image, crop = images[index : index + 1], crops[index : index + 1]
        own = [None if each is None else each[index % len(each)][None] for each in (masks, faces)]
        mask, face = (mask_of_crop(each, crop, image, alignment) for each in own)
        scale = scales[index] if scales else None
        yield paste_face(image, crop, alignment, size, look, mask=mask, scale=scale, face=face)
        runtime.progress(index + 1, len(images))


def paste_face(
    image: Tensor,
    crop: Tensor,
    alignment: Alignment | None,
    size: tuple[int, int],
    look: PasteLook | None = None,
    *,
    mask: Tensor | None = None,
    scale: float | None = None,
    face: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Lay one crop over its picture.

    Args:
        image: [1, 3, H, W], 0..1.
        crop: [1, 3, S, S] for any S.
        alignment: the crop's place in ``image``, at whatever size that had; None: nothing is pasted.
        size: (width, height) of the result: ``image`` is enlarged to it so that it agrees with its own pixels around
            what is pasted, see :func:`agree_around`.
        look: see :class:`PasteLook`.
        mask: [1, 1, h, h] in 0..1, what to take from the crop; None takes all of it.
        scale: crop pixels (of ``alignment``'s size) per real pixel, where the picture was enlarged before; None: the
            alignment's.
        face: [1, 1, h, h] in 0..1, what of the crop is the face: only there it stays as it is where an enlarged picture
            is made to agree; None: wherever something is taken from it.

    Returns:
        The picture [1, 3, height, width] and how much of each pixel comes from the crop, [1, 1, height, width] in 0..1.
    """
    grown = image.float() if size == (image.shape[-1], image.shape[-2]) else resize(image.float(), size)
    nothing, look = grown.new_zeros(1, 1, size[1], size[0]), look or PasteLook()
    if alignment is None:
        return agree_around(grown, image.float(), nothing), nothing
    alignment = fit_alignment(alignment, (image.shape[-1], image.shape[-2]))
    place, crop = fit_alignment(alignment, size), crop.to(grown)
    if look.colour != "none":
        before = alignment.resized(crop.shape[-1]).crop(image.float())
        looked = None if mask is None else F.interpolate(mask.to(crop), crop.shape[-2:], mode="bilinear")
        real = (scale or alignment.scale) * crop.shape[-1] / alignment.size
        crop = match_colour(crop, before, look.colour, scale=real, mask=looked)
    # what is laid over black as white is the share of the crop
    ones = torch.ones_like(crop[:, :1])
    share = place.paste(nothing, ones, mask, feather=look.feather)
    kept = share if face is None else torch.minimum(share, place.paste(nothing, ones, face, feather=look.feather))
    return agree_around(place.paste(grown, crop, mask, feather=look.feather), image.float(), kept), share


def agree_around(picture: Tensor, image: Tensor, face: Tensor) -> Tensor:
    """Make an enlarged picture agree with the one it was enlarged from, around the face that was pasted into it.

    Neither an interpolation nor the surroundings of a restored face, averaged over a pixel of the picture, give that
    pixel. By what they miss it is enlarged and added: iterative back-projection (Irani and Peleg, CVGIP 1991, doi
    10.1016/1049-9652(91)90045-L). The surroundings answer for a pixel only as far as they fill it, or a halo would
    make up for what the face misses. The face itself stays: it was held to the pixels while it was made, as firmly as
    the person's features allow (``SamplingSettings.consistency``).

    Args:
        picture: [1, C, H', W'], 0..1, the face in it.
        image: [1, C, H, W], 0..1, its own pixels, not more than those of ``picture``.
        face: [1, 1, H', W'], 0..1, how much of each pixel stays as it is.

    Returns:
        [1, C, H', W'], 0..1; ``picture`` itself where both have one size.
    """
    own, size = (image.shape[-2], image.shape[-1]), (picture.shape[-2], picture.shape[-1])
    if own == size:
        return picture
    share = 1 - F.adaptive_avg_pool2d(face, own)
    for _ in range(_ROUNDS):
        missed = share * (image - F.adaptive_avg_pool2d(picture, own))
        grown = F.interpolate(missed, size=size, mode="bicubic", align_corners=False)
        picture = (picture + (1 - face) * grown).clamp(0, 1)
    return picture


def check_batch(
    images: Tensor,
    crops: Tensor,
    alignments: Sequence[Alignment | None],
    masks: Tensor | None = None,
    faces: Tensor | None = None,
) -> None:
    """Raise ArgumentError unless pictures, crops, alignments and masks belong together.

    Args:
        images: [B, 3, H, W].
        crops: [B, 3, S, S].
        alignments: B of them, for pictures of the aspect of ``images``.
        masks, faces: [B or 1, 1, h, w], as large as the pictures or square.
    """
    count = len(images)
    for name, value in (("crop", len(crops)), ("alignment", len(alignments))):
        if value != count:
            remedy = "connect what belongs to these pictures, one for each"
            raise ArgumentError(name, f"{value} of them, but image has {count} pictures", remedy)
    if crops.shape[-1] != crops.shape[-2]:
        remedy = "connect the restored crop, enlarged as a whole or not at all"
        raise ArgumentError("crop", f"{crops.shape[-1]}x{crops.shape[-2]} pixels, not square", remedy)
    for alignment in alignments:
        if alignment is not None:
            fit_alignment(alignment, (images.shape[-1], images.shape[-2]))
    for name, given in (("mask", masks), ("face_mask", faces)):
        if given is None:
            continue
        if len(given) not in (1, count):
            raise ArgumentError(name, f"{len(given)} masks for {count} crops", "connect one for all, or one for each")
        if given.shape[-1] != given.shape[-2] and given.shape[-2:] != images.shape[-2:]:
            value = f"{given.shape[-1]}x{given.shape[-2]} pixels"
            raise ArgumentError(name, value, "give one of the crop, which is square, or one as large as the picture")


def mask_of_crop(mask: Tensor | None, crop: Tensor, image: Tensor, alignment: Alignment | None) -> Tensor | None:
    """A mask [1, 1, h, w] over the crop as it is; one that is as large as the picture is cut out where the face is."""
    picture, square = mask is not None and mask.shape[-2:] == image.shape[-2:], crop.shape[-1]
    if mask is None or alignment is None or not picture or mask.shape[-2:] == (square, square):
        return mask
    place = fit_alignment(alignment, (image.shape[-1], image.shape[-2])).resized(square)
    return place.crop(mask, padding="zeros", mode="bilinear")


def resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Bicubic to (width, height), clipped to 0..1. [B, C, H, W] -> [B, C, height, width]."""
    return F.interpolate(image, size=size[::-1], mode="bicubic", align_corners=False).clamp(0, 1)

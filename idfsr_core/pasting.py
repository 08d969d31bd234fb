"""A batch of restored crops back into its pictures, which may have been resized since they were cropped."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .colour import match_colour
from .errors import ArgumentError, ImageError
from .geometry import Alignment
from .images import MAX_SIDE
from .options import RestoreOptions

LARGEST_SIDE = 4096  # pixels, to which pictures are enlarged unasked
LARGEST_BATCH = 256 * 10**6  # pixels of all pictures of a batch together, to which they are enlarged unasked: 3 GB
MOST_BATCH = 2 * 10**9  # pixels that may be asked for: 24 GB


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


def paste_face(
    image: Tensor,
    crop: Tensor,
    alignment: Alignment | None,
    size: tuple[int, int],
    *,
    mask: Tensor | None = None,
    feather: float = RestoreOptions.paste_feather,
    colour: str = "none",
    scale: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Lay one crop over its picture.

    Args:
        image: [1, 3, H, W], 0..1.
        crop: [1, 3, S, S] for any S.
        alignment: the crop's place in ``image``, at whatever size that had; None: nothing is pasted.
        size: (width, height) of the result: ``image`` is enlarged to it by bicubic interpolation.
        mask: [1, 1, h, h] in 0..1, what to take from the crop; None takes all of it.
        feather: fraction of the crop's side over which it fades at its border.
        colour: see :func:`idfsr_core.colour.match_colour`.
        scale: crop pixels (of ``alignment``'s size) per real pixel, where the picture was enlarged before; None: the
            alignment's.

    Returns:
        The picture [1, 3, height, width] and how much of each pixel comes from the crop, [1, 1, height, width] in 0..1.
    """
    grown = image.float() if size == (image.shape[-1], image.shape[-2]) else resize(image.float(), size)
    nothing = grown.new_zeros(1, 1, size[1], size[0])
    if alignment is None:
        return grown, nothing
    alignment = fit_alignment(alignment, (image.shape[-1], image.shape[-2]))
    place, crop = fit_alignment(alignment, size), crop.to(grown)
    if colour != "none":
        real = (scale or alignment.scale) * crop.shape[-1] / alignment.size
        before = alignment.resized(crop.shape[-1]).crop(image.float())
        looked = None if mask is None else F.interpolate(mask.to(crop), crop.shape[-2:], mode="bilinear")
        crop = match_colour(crop, before, colour, scale=real, mask=looked)
    ones = torch.ones_like(crop[:, :1])
    # what is laid over black as white is the share of the crop
    return place.paste(grown, crop, mask, feather=feather), place.paste(nothing, ones, mask, feather=feather)


def resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Bicubic to (width, height), clipped to 0..1. [B, C, H, W] -> [B, C, height, width]."""
    return F.interpolate(image, size=size[::-1], mode="bicubic", align_corners=False).clamp(0, 1)

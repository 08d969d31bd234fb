"""What a small picture itself says of the face on it: how it differs from the person's photos made just as small.

The mean of a person's photos is who they are; a picture shows them once, at one age, from one side, in one light, and
its own embedding differs by that from the mean. Of a face of some eight pixels or more an encoder still reads a part
of it. What it also reads there is that the face is small, but that it reads off the good photos too, once they are
made as small: so the difference between the two is added to the person's vector, the more of it, the better the
encoder can read the face. And a photo that, made as small, looks like the picture shows the person as the picture does,
which counts in the choice among the photos. Method and values are ours; figures in docs/RESULTS.md, "What the small
picture says itself" and "How the reference is chosen".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import ArgumentError
from ..geometry import ffhq_template

if TYPE_CHECKING:
    from .embedding import IdentityEmbedding
    from .encoders import IdentityEncoder

SIDES = (8, 12, 16, 24, 32, 64)  # pixels of the FFHQ-style crop at which the good photos are looked at
UNREADABLE = 0.2  # quality, as the compact encoder tells it, up to which what it reads does not help
READABLE = 0.25  # quality from which on it can say which of a person's photos a face is like


@dataclass(frozen=True, kw_only=True, eq=False)
class SmallViews:
    """How one person looks to an encoder when their photos are made small."""

    sides: tuple[int, ...]  # of the FFHQ-style crop, in pixels, ascending
    vectors: Tensor  # [N, D] float32 on the CPU: for each side the (weighted) mean of the photos' unit vectors

    def __post_init__(self) -> None:
        vectors = torch.as_tensor(self.vectors).detach().to("cpu", torch.float32).clone()
        object.__setattr__(self, "vectors", vectors)
        object.__setattr__(self, "sides", tuple(int(side) for side in self.sides))
        if vectors.ndim != 2 or not len(vectors) or len(vectors) != len(self.sides):
            value = f"vectors {tuple(vectors.shape)} for {len(self.sides)} sides"
            raise ArgumentError("small views", value, "give a vector for each side")
        if list(self.sides) != sorted(set(self.sides)) or self.sides[0] < 1 or not bool(vectors.isfinite().all()):
            raise ArgumentError("small views", self.sides, "give ascending sides and finite vectors")

    def at(self, side: float) -> Tensor:
        """The vector [D] for a side in pixels: between two known ones linear in its logarithm, outside the nearest."""
        place = math.log(max(side, 1e-3))
        known = [math.log(each) for each in self.sides]
        upper = next((i for i, each in enumerate(known) if each >= place), len(known) - 1)
        if upper == 0 or known[upper] <= place:
            return self.vectors[upper]
        share = (place - known[upper - 1]) / (known[upper] - known[upper - 1])
        return self.vectors[upper - 1].lerp(self.vectors[upper], share)


def view_small(encoder: IdentityEncoder, face: Tensor) -> Tensor:
    """Unit vectors [N, D] of a good face [1, 3, S, S], an FFHQ-style crop, made as small as SIDES; on the CPU."""
    return _seen(encoder, made_small(face, SIDES))[0]


def made_small(face: Tensor, sides: Sequence[int]) -> Tensor:
    """A good face [1, 3, S, S] averaged to each of the sides in pixels and enlarged again, [N, 3, S, S] in 0..1."""
    size = face.shape[-1]
    small = [F.adaptive_avg_pool2d(face, min(side, size)) for side in sides]
    return torch.cat([F.interpolate(each, size=(size, size), mode="bicubic") for each in small]).clamp(0, 1)


def seen_alike(face: Tensor, side: float, photos: Sequence[Tensor | None], encoder: IdentityEncoder) -> list[float]:
    """How much a small face looks like each good photo made just as small.

    Args:
        face: [1, 3, S, S] in 0..1, an enlarged FFHQ-style crop of the small face.
        side: real pixels along the side of that crop.
        photos: [V, D] by :func:`view_small` with the same encoder, for each photo; None: not looked at.

    Returns:
        Cosines, -1..1, which fade to 0 between a quality of READABLE and UNREADABLE; all 0 where a photo was not
        looked at, since they only mean something beside each other, and for a face larger than the largest of SIDES.
    """
    known = [photo for photo in photos if photo is not None]
    if len(known) < len(photos) or side > SIDES[-1]:
        return [0.0] * len(photos)
    (vector,), quality = _seen(encoder, face)
    counts = legibility(quality)
    views = torch.stack([SmallViews(sides=SIDES, vectors=photo).at(side) for photo in known])
    return (counts * (F.normalize(views, dim=1) @ vector)).tolist()


def trust(quality: Tensor) -> Tensor:
    """How much of the difference counts for faces of a quality [B], 0..0.8.

    The compact encoder foretells its own cosine with a good photo of the face: .5 on average for a clean face of 16
    pixels, .4 for a noisy one, .3 for one of 8 and .1 for one of 4.
    """
    return (quality - UNREADABLE).clamp_min(0)


def legibility(quality: Tensor) -> Tensor:
    """How far faces of a quality [B] can say which photo they are like: 0 up to UNREADABLE, 1 from READABLE on."""
    return (trust(quality) / (READABLE - UNREADABLE)).clamp_max(1)


def glimpsed(
    identity: IdentityEmbedding, faces: Tensor, side: float, encoder: IdentityEncoder | None, share: float
) -> Tensor:
    """The person's vector moved to what each small picture shows of them.

    Args:
        identity: the person, with small views; without them, every face gets the plain vector.
        faces: [B, 3, S, S] in 0..1, enlarged FFHQ-style crops of small faces.
        side: real pixels along the side of those crops.
        encoder: made ``identity``; None: every face gets the plain vector.
        share: 0..2, of the difference that :func:`trust` allows; 0 gives the plain vector.

    Returns:
        [B, D] float32 on the CPU, of the length of the identity's vector.
    """
    plain = identity.vector
    if encoder is None or identity.small is None or not share:
        return plain.expand(len(faces), -1)
    vectors, quality = _seen(encoder, faces)
    counts = share * trust(quality)[:, None]
    return F.normalize(identity.direction + counts * (vectors - identity.small.at(side)), dim=1) * plain.norm()


def _seen(encoder: IdentityEncoder, faces: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors [B, D] and qualities [B] of FFHQ-style crops, without gradients, on the CPU."""
    points = ffhq_template(faces.shape[-1]).float().to(faces.device).expand(len(faces), -1, -1)
    with torch.inference_mode():
        found = encoder.embed(faces.detach().float().clamp(0, 1), points)
    return F.normalize(found.vectors.float().cpu().clone(), dim=1), found.quality.float().cpu().clone()

"""Which of a person's photos shows them as a small face does: what the encoder sees on the way to the vector.

The vector is made to be the same in every photo of a person. What differs between their photos, such as age, mood,
beard, make-up, light and the camera, is in the features before it, also where a face is made small. Two learned weights
for each feature say what of that counts: how much a photo is nearer to the truth for differing from the other photos as
the small face does, and for what it is like itself, since some photos are nearer to all the others than some. Form and
training are ours (``pretrain match``); figures in docs/RESULTS.md, "How the reference is chosen".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from ..errors import ArgumentError
from ..geometry import ffhq_template
from .compact import CompactEncoder
from .encoders import IdentityEncoder
from .glimpse import SmallViews, made_small

SIDES = (4, 8, 16, 32)  # pixels of the FFHQ-style crop at which the good photos are looked at
LARGEST_SIDE = 64  # of a face that is small: a larger one says itself what it is like


@dataclass(frozen=True, kw_only=True)
class PhotoMatchConfig:
    """Size of a :class:`PhotoMatch`, and whose features it weighs."""

    channels: int  # of the encoder's features, all segments together
    encoder: str  # hash of that encoder's weights

    def __post_init__(self) -> None:
        if self.channels < 1:
            raise ArgumentError("PhotoMatchConfig.channels", self.channels, "use the encoder's feature count")

    def to_dict(self) -> dict:
        return asdict(self)


class PhotoMatch(nn.Module):
    """Weights of an encoder's features by which a person's photos are told apart; with zeros, as made, they are not."""

    def __init__(self, config: PhotoMatchConfig) -> None:
        super().__init__()
        self.config = config
        self.alike = nn.Parameter(torch.zeros(1, config.channels))
        self.worth = nn.Parameter(torch.zeros(1, config.channels))

    def forward(self, face: Tensor, small: Tensor, sharp: Tensor) -> Tensor:
        """How well each photo suits, in eye distances of landmarks that it may be off for it.

        Only differences between the photos count: what all of them share is the person.

        Args:
            face: features [..., C] of the small face.
            small: [..., N, C] those of the photos made just as small.
            sharp: [..., N, C] those of the photos as they are.

        Returns:
            [..., N], of which the mean is near 0.
        """
        middle = small.mean(-2, keepdim=True)
        apart = (face[..., None, :] - middle) * (small - middle)
        own = sharp - sharp.mean(-2, keepdim=True)
        return (apart * self.alike[0] + own * self.worth[0]).sum(-1)


def look(encoder: IdentityEncoder, face: Tensor) -> Tensor | None:
    """What an encoder with a :class:`PhotoMatch` sees in a good photo, and in its mirror image.

    Args:
        encoder: another encoder, or one without, sees nothing.
        face: [1, 3, S, S] in 0..1, an FFHQ-style crop.

    Returns:
        Features [2, V + 1, C] on the CPU: as it is and mirrored; made as small as each of SIDES, and sharp.
    """
    if not isinstance(encoder, CompactEncoder) or encoder.match is None:
        return None
    views = torch.cat([made_small(face, SIDES), face])
    return _features(encoder, torch.cat([views, views.flip(-1)])).unflatten(0, (2, -1))


def suiting(face: Tensor, side: float, photos: Sequence[Tensor | None], encoder: IdentityEncoder) -> list[float]:
    """How well each of a person's photos suits a small face, beside the others.

    Args:
        face: [1, 3, S, S] in 0..1, an enlarged FFHQ-style crop of the small face.
        side: real pixels along the side of that crop.
        photos: [V + 1, C] of each photo, the half of :func:`look` that is laid on; None: not looked at.

    Returns:
        In eye distances of landmarks, see :class:`PhotoMatch`; all 0 where a photo was not looked at, and for a face of
        more than LARGEST_SIDE pixels.
    """
    known = [photo for photo in photos if photo is not None]
    if not isinstance(encoder, CompactEncoder) or encoder.match is None:
        return [0.0] * len(photos)
    if len(known) < len(photos) or side > LARGEST_SIDE:
        return [0.0] * len(photos)
    small = torch.stack([SmallViews(sides=SIDES, vectors=photo[:-1]).at(side) for photo in known])
    with torch.inference_mode():
        found = encoder.match(_features(encoder, face)[0], small, torch.stack([photo[-1] for photo in known]))
    return found.tolist()


def _features(encoder: CompactEncoder, faces: Tensor) -> Tensor:
    """Features [B, C] of FFHQ-style crops [B, 3, S, S], without gradients, on the CPU."""
    points = ffhq_template(faces.shape[-1]).float().expand(len(faces), -1, -1)
    with torch.inference_mode():
        return encoder.features(faces, points.to(faces.device)).cpu().clone()

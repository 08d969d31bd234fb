"""The compact encoder's network: segments of ConvNeXt blocks on an ArcFace-aligned face of 112x112 pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain

import torch
from torch import Tensor, nn

from ..errors import ArgumentError
from .network_blocks import Segment

FACE_SIZE = 112
# In the order in which Segment takes them.
_PER_SEGMENT = ("widths", "outputs", "depths", "kernels", "strides", "expansions", "attention")


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """Size of an :class:`EncoderNetwork`; what is a tuple has one entry for each segment.

    The outputs and the strides of the defaults are those of EdgeFace-XS (arXiv 2307.01838), whose features such a
    network can learn segment by segment; the rest is ours.
    """

    widths: tuple[int, ...] = (40, 80, 144, 144, 224)
    """Channels within a segment."""
    outputs: tuple[int, ...] = (32, 64, 100, 100, 192)
    """Channels that a segment hands on."""
    depths: tuple[int, ...] = (3, 3, 4, 4, 6)
    """Blocks of a segment."""
    kernels: tuple[int, ...] = (3, 5, 7, 7, 5)
    """Side of the depthwise convolutions, odd."""
    strides: tuple[int, ...] = (4, 2, 2, 1, 2)
    """By how much a segment divides the side, rounded down: 28, 14, 7, 7, 3 pixels. With 1 it adds to what it takes."""
    expansions: tuple[int, ...] = (4, 3, 3, 3, 3)
    """Channels in the middle of a block, as a multiple of its width."""
    attention: tuple[bool, ...] = (False, True, False, True, True)
    """Whether a segment's last block attends."""
    heads: int = 4
    """Heads of the attention."""
    dim: int = 512
    """Length of the embedding."""

    def __post_init__(self) -> None:
        for name in _PER_SEGMENT:
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not self.widths or len({len(getattr(self, name)) for name in _PER_SEGMENT}) != 1:
            self._refuse("give at least one segment, and as many entries of each kind as there are segments")
        numbers = chain((self.heads, self.dim), *(getattr(self, name) for name in _PER_SEGMENT[:-1]))
        if not all(isinstance(number, int) and number > 0 for number in numbers):
            self._refuse("give positive whole numbers")
        if not all(isinstance(flag, bool) for flag in self.attention):
            self._refuse("give true or false as attention")
        self._check_fit()

    def _check_fit(self) -> None:
        """The numbers fit each other and the face."""
        if any(kernel % 2 == 0 for kernel in self.kernels):
            self._refuse("give odd kernels")
        if any(flag and width % self.heads for width, flag in zip(self.widths, self.attention, strict=True)):
            self._refuse("give widths that the heads divide where there is attention")
        for inputs, outputs, stride in zip(self.inputs, self.outputs, self.strides, strict=True):
            if stride == 1 and inputs != outputs:
                self._refuse("give a segment of stride 1 as many outputs as the one before it has")
        side = FACE_SIZE
        for stride in self.strides:
            side //= stride
        if side == 0:
            self._refuse(f"give strides that leave a pixel of {FACE_SIZE}")

    def _refuse(self, remedy: str) -> None:
        raise ArgumentError("EncoderConfig", asdict(self), remedy)

    @property
    def inputs(self) -> tuple[int, ...]:
        """Channels that each segment takes."""
        return (3, *self.outputs[:-1])

    def to_dict(self) -> dict:
        """The fields as plain values, for a file's metadata."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @staticmethod
    def from_dict(values: dict) -> EncoderConfig:
        """The reverse of :meth:`to_dict`; an unknown or missing field raises :class:`ArgumentError`."""
        known = set(EncoderConfig.__dataclass_fields__)
        if set(values) != known:
            odd = sorted(set(values) ^ known)
            raise ArgumentError("encoder configuration", odd, f"give exactly the fields {sorted(known)}")
        return EncoderConfig(**values)


def _segments(config: EncoderConfig) -> Iterator[Segment]:
    """The segments with fresh weights."""
    numbers = zip(config.inputs, *(getattr(config, name) for name in _PER_SEGMENT[:-1]), strict=True)
    for position, (sizes, attends) in enumerate(zip(numbers, config.attention, strict=True)):
        yield Segment(*sizes, heads=config.heads if attends else 0, first=position == 0)


class EncoderNetwork(nn.Module):
    """Face to embedding and quality: segments, the mean over all places, and two linear heads.

    Everything before the mean is [B, H, W, C], as the linear layers of the blocks want it.
    """

    def __init__(self, config: EncoderConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or EncoderConfig()
        self.segments = nn.ModuleList(_segments(config))
        self.norm = nn.LayerNorm(config.outputs[-1])
        self.embedding = nn.Linear(config.outputs[-1], config.dim)
        self.quality = nn.Linear(config.outputs[-1], 1)

    def forward(self, faces: Tensor) -> tuple[Tensor, Tensor]:
        """Embed aligned faces; differentiable, but the quality is not with respect to the faces.

        Args:
            faces: [B, 3, 112, 112], RGB, 0..1.

        Returns:
            The embedding [B, dim], NOT normalised, and the quality [B] in 0..1: the cosine to be expected
            between this embedding and that of a clean copy of the same photo.
        """
        return self.with_features(faces)[:2]

    def with_features(
        self, faces: Tensor, feed: Callable[[int, Tensor], Tensor] | None = None
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """As :meth:`forward`, with what each segment makes of the faces.

        Args:
            faces: [B, 3, 112, 112], RGB, 0..1.
            feed: is given the number of a segment and its features, and says what the next segment sees in their
                place. The heads always see those of the last segment itself.

        Returns:
            Embedding [B, dim], quality [B] and the features of each segment, [B, H, W, C].
        """
        seen = (faces * 2 - 1).permute(0, 2, 3, 1)
        features: list[Tensor] = []
        for number, segment in enumerate(self.segments):
            features.append(segment(seen))
            seen = feed(number, features[-1]) if feed else features[-1]
        embedding, quality = self._heads(features[-1])
        return embedding, quality, features

    def _heads(self, features: Tensor) -> tuple[Tensor, Tensor]:
        # The mean over places and the two small heads keep the parameters' precision, also under autocast.
        with torch.autocast(features.device.type, enabled=False):
            pooled = self.norm(features.to(self.norm.weight.dtype).mean((1, 2)))
            # Detached: what a photo is worth is read from the features, and must not change them.
            return self.embedding(pooled), self.quality(pooled.detach()).squeeze(1).sigmoid()


def pooled_features(features: Sequence[Tensor]) -> Tensor:
    """The mean over all places of each segment's features [B, H, W, C], side by side: [B, all C] float32."""
    return torch.cat([each.float().mean((1, 2)) for each in features], 1)

"""What the compact encoder is built of. All features are [B, H, W, C]."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

# What a fresh branch adds, per channel ("layer scale", arXiv 2103.17239). Ours: large, since the networks are shallow
# and their trainings short.
_BLOCK_SCALE = 0.3
_ATTENTION_SCALE = 0.1


class Attention(nn.Module):
    """Cross-covariance attention (XCiT, arXiv 2106.09681): channels attend to channels, over all places.

    Its cost grows with the number of places, not with its square.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.scale = nn.Parameter(torch.full((channels,), _ATTENTION_SCALE))
        self.norm = nn.LayerNorm(channels)
        self.enter = nn.Linear(channels, 3 * channels)
        self.leave = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        batch, height, width, channels = x.shape
        parts = self.enter(self.norm(x)).view(batch, height * width, 3, self.heads, channels // self.heads)
        query, key, value = parts.permute(2, 0, 3, 4, 1)  # [B, heads, C / heads, H * W] each
        alike = functional.normalize(query, dim=-1) @ functional.normalize(key, dim=-1).transpose(-1, -2)
        found = (alike * self.temperature).softmax(-1) @ value
        return x + self.scale * self.leave(found.permute(0, 3, 1, 2).reshape(x.shape))


class Block(nn.Module):
    """A ConvNeXt block (arXiv 2201.03545), with attention behind it where ``heads`` is not 0."""

    def __init__(self, channels: int, kernel: int, expansion: int, heads: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((channels,), _BLOCK_SCALE))
        self.depthwise = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.expand = nn.Linear(channels, expansion * channels)
        self.contract = nn.Linear(expansion * channels, channels)
        self.attention = Attention(channels, heads) if heads else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        near = self.depthwise(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        x = x + self.scale * self.contract(functional.gelu(self.expand(self.norm(near))))
        return self.attention(x)


class Segment(nn.Module):
    """Patches of ``stride`` x ``stride`` become one place each; blocks follow, and a change of the number of channels.

    Rows and columns that make no whole patch are left out. With stride 1 the result is added to the input.

    Args:
        inputs, width, outputs: channels taken, within, and given.
        depth: number of blocks.
        kernel: side of the depthwise convolutions, odd.
        stride: side of a patch.
        expansion: channels in the middle of a block, as a multiple of ``width``.
        heads: of the attention in the last block; 0 for none.
        first: the input is a picture, which is not normalised.
    """

    def __init__(
        self,
        inputs: int,
        width: int,
        outputs: int,
        depth: int,
        kernel: int,
        stride: int,
        expansion: int,
        *,
        heads: int,
        first: bool,
    ) -> None:
        super().__init__()
        self.stride = stride
        self.norm = nn.Identity() if first else nn.LayerNorm(inputs)
        self.enter = nn.Linear(inputs * stride**2, width)
        self.entered_norm = nn.LayerNorm(width)
        attends = [0] * (depth - 1) + [heads]
        self.blocks = nn.Sequential(*(Block(width, kernel, expansion, attend) for attend in attends))
        self.leave = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        inside = self.entered_norm(self.enter(_merged(self.norm(x), self.stride)))
        found = self.leave(self.blocks(inside))
        return x + found if self.stride == 1 else found


def _merged(x: Tensor, side: int) -> Tensor:
    """[B, H, W, C] -> [B, H // side, W // side, side * side * C]: a patch's places behind one another."""
    batch, height, width, channels = x.shape
    rows, columns = height // side, width // side
    whole = x[:, : rows * side, : columns * side]
    patches = whole.reshape(batch, rows, side, columns, side, channels).permute(0, 1, 3, 2, 4, 5)
    return patches.reshape(batch, rows, columns, side**2 * channels)

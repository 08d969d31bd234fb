"""The denoiser: from a noisy face and its conditions to an estimate of the clean face.

A diffusers UNet works on patches (pixel_unshuffle). Around it, three small networks of ours: one that reads a photo
into tokens and a style vector, one that picks detail from the reference photos place by place, and a head at full
resolution, which keeps the patch grid out of the picture.
"""

from __future__ import annotations

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional as F

from .composite import composite, high_band
from .conditioning import Conditioning
from .config import DenoiserConfig

_SCALE_FEATURES = 8
_MAP_SIDE = 16  # cells of an identity map


class PhotoReader(nn.Module):
    """A warped photo as 4x4 tokens and one vector. Shared by the style photo and the references."""

    GRID = 4

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        width, patch = config.photo_channels, config.patch
        self.patch = patch
        self.layers = nn.Sequential(
            nn.Conv2d(4 * patch * patch, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.GroupNorm(8, 2 * width),
            nn.SiLU(),
            nn.Conv2d(2 * width, 2 * width, 3, stride=2, padding=1),
            nn.GroupNorm(8, 2 * width),
            nn.SiLU(),
            nn.Conv2d(2 * width, config.token_dim, 3, stride=2, padding=1),
        )
        self.place = nn.Parameter(torch.randn(self.GRID**2, config.token_dim) * 0.02)
        self.vector = nn.Linear(config.token_dim, config.style_dim)

    def forward(self, photo: Tensor, coverage: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 3, S, S] in 0..1, [B, 1, S, S] -> tokens [B, 16, token_dim], vector [B, style_dim]."""
        seen = torch.cat([(photo * 2 - 1) * coverage, coverage], 1)
        features = F.adaptive_avg_pool2d(self.layers(F.pixel_unshuffle(seen, self.patch)), self.GRID)
        tokens = features.flatten(2).transpose(1, 2)
        return tokens + self.place, self.vector(F.silu(tokens.mean(1)))


class ReferencePicker(nn.Module):
    """For each patch, a weighted choice among the reference photos and "none of them".

    The photos are already warped onto the LR face, so like places lie over each other and the choice can be local: a
    softmax over the photos, from what each shows there and how well its low band agrees with the LR pixels. The result
    does not depend on their order, and any number of them can be given.
    """

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        width, cells = config.photo_channels, config.patch**2
        self.patch = config.patch
        self.out_channels = width
        self.read = nn.Sequential(
            nn.Conv2d(7 * cells, width, 1), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1), nn.SiLU()
        )
        self.value = nn.Conv2d(width, width, 1)
        self.score = nn.Conv2d(width, 2, 1)

    def forward(self, cond: Conditioning) -> tuple[Tensor, Tensor]:
        """-> features [B, width, S/patch, S/patch], picked high band [B, 3, S, S]."""
        batch, places, _, size, _ = cond.references.shape
        grid = size // self.patch
        if places == 0:
            empty = cond.mask.new_zeros(batch, self.out_channels, grid, grid)
            return empty, cond.mask.new_zeros(batch, 3, size, size)
        photos, coverage = cond.references.flatten(0, 1), cond.reference_coverage.flatten(0, 1)
        detail = high_band(photos, cond.lr.shape[-1]) * coverage
        low = (photos - detail) - cond.upsampled.repeat_interleave(places, 0)
        seen = self.read(F.pixel_unshuffle(torch.cat([detail * 4, low * coverage, coverage], 1), self.patch))
        score = self.score(seen).float().unflatten(0, (batch, places))
        score = score.masked_fill(~cond.reference_valid[:, :, None, None, None], -torch.inf)
        weight = torch.cat([torch.zeros_like(score[:, :1]), score], 1).softmax(1)[:, 1:]
        features = (self.value(seen).unflatten(0, (batch, places)) * weight[:, :, :1]).sum(1)
        fine = F.interpolate(weight[:, :, 1], size=(size, size), mode="bilinear", align_corners=False)
        return features, (detail.unflatten(0, (batch, places)) * fine[:, :, None]).sum(1)


class Denoiser(nn.Module):
    """``x0 = start picture + correction(x_t, t, conditions)``; pictures in 0..1 outside, -1..1 inside."""

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        self.config = config
        cells = config.patch**2
        self.photo_reader = PhotoReader(config)
        self.reference_picker = ReferencePicker(config)
        self.identity_tokens = nn.Linear(config.identity_dim, config.identity_tokens * config.token_dim)
        self.identity_maps = nn.Linear(config.identity_dim, config.identity_maps * _MAP_SIDE**2)
        self.token_kind = nn.Parameter(torch.randn(3, config.token_dim) * 0.02)
        self.no_photo = nn.Parameter(torch.randn(config.token_dim) * 0.02)
        slope = 3 if config.slope else 0
        self.unet = _make_unet(
            config,
            in_channels=(17 + slope) * cells + config.photo_channels + config.identity_maps,
            out_channels=8 * cells,
        )
        self.head = nn.Sequential(
            nn.Conv2d(8 + 3 + 3 + 3 + 1 + slope, 24, 3, padding=1), nn.SiLU(), nn.Conv2d(24, 3, 3, padding=1)
        )
        # The first estimate is the start picture itself: the untrained model already gives a recognisable face.
        nn.init.zeros_(self.head[2].weight)  # pyright: ignore[reportArgumentType]
        nn.init.zeros_(self.head[2].bias)  # pyright: ignore[reportArgumentType]

    def start(self, cond: Conditioning) -> Tensor:
        """The picture at time 1 without its noise, [B, 3, S, S] in -1..1."""
        if self.config.start == "noise":
            return torch.zeros_like(cond.style)
        return composite(cond) * 2 - 1

    def forward(self, x: Tensor, time: Tensor, cond: Conditioning, slope: Tensor | None = None) -> Tensor:
        """Estimate the clean face.

        Args:
            x: noisy face [B, 3, S, S], -1..1 and beyond.
            time: [B], 1 at the start of sampling and 0 at the clean picture.
            cond: the conditions.
            slope: [B, 3, S, S], ``Judge.slope`` of the start picture or of the last estimate, for a configuration that
                has it; None or zeros: nobody could say.

        Returns:
            [B, 3, S, S], about -1..1.
        """
        slopes = [] if not self.config.slope else [torch.zeros_like(x) if slope is None else slope]
        base = self.start(cond)
        lr = cond.upsampled * 2 - 1
        if self.config.start == "noise":
            lr = lr * (1 - cond.mask)
        picked, picked_detail = self.reference_picker(cond)
        tokens, vector = self._read(cond)
        style = (cond.style * 2 - 1) * cond.style_coverage
        pictures = torch.cat([x, base, lr, style, picked_detail * 2, cond.mask, cond.style_coverage, *slopes], 1)
        grid = torch.cat([F.pixel_unshuffle(pictures, self.config.patch), picked, self._maps(cond, picked)], 1)
        out = self.unet(grid, time * 1000, tokens, class_labels=vector).sample
        fine = _without_grid(F.pixel_shuffle(out, self.config.patch), self.config.patch)
        return base + self.head(torch.cat([fine, x - base, base, picked_detail * 2, cond.mask, *slopes], 1)).float()

    def _maps(self, cond: Conditioning, like: Tensor) -> Tensor:
        """What the identity vector draws, [B, identity_maps, ...] of the size of ``like``."""
        maps = self.identity_maps(self._vector(cond)).unflatten(1, (-1, _MAP_SIDE, _MAP_SIDE))
        return F.interpolate(maps, size=like.shape[-2:], mode="bilinear", align_corners=False)

    def _vector(self, cond: Conditioning) -> Tensor:
        """The identity vector [B, D] with entries of unit variance, as other inputs have."""
        return cond.identity * self.config.identity_dim**0.5

    def _read(self, cond: Conditioning) -> tuple[Tensor, Tensor]:
        """Cross-attention tokens [B, N, token_dim] and the vector of the adaptive group norm."""
        batch, places = cond.reference_valid.shape
        style, style_vector = self.photo_reader(cond.style, cond.style_coverage)
        identity = self._vector(cond)
        named = self.identity_tokens(identity).unflatten(1, (self.config.identity_tokens, -1))
        tokens = [named + self.token_kind[0], style + self.token_kind[1]]
        if places:
            seen, _ = self.photo_reader(cond.references.flatten(0, 1), cond.reference_coverage.flatten(0, 1))
            seen = seen.unflatten(0, (batch, places)) + self.token_kind[2]
            seen = torch.where(cond.reference_valid[:, :, None, None], seen, self.no_photo.to(seen.dtype))
            tokens.append(seen.flatten(1, 2))
        vector = torch.cat([identity, style_vector, _scale_features(cond)], 1)
        return torch.cat(tokens, 1), vector


def _without_grid(x: Tensor, patch: int) -> Tensor:
    """The mean over a window of one patch: it has a zero at the patch grid's frequency and its multiples.

    What is drawn finer than a patch comes from the photos, which the head sees unfiltered.
    """
    before = (patch - 1) // 2
    after = patch - 1 - before
    return F.avg_pool2d(F.pad(x, (before, after, before, after), mode="replicate"), patch, 1)


def _scale_features(cond: Conditioning) -> Tensor:
    """The scale as smooth features, [B, 8]: sines and cosines of its octave."""
    octave = torch.log2(torch.tensor(float(cond.scale), device=cond.mask.device))
    phase = octave * torch.tensor([0.25, 0.5, 1.0, 2.0], device=cond.mask.device)
    return torch.cat([phase.sin(), phase.cos()]).expand(cond.mask.shape[0], _SCALE_FEATURES)


def _make_unet(config: DenoiserConfig, in_channels: int, out_channels: int) -> UNet2DConditionModel:
    down = tuple("CrossAttnDownBlock2D" if flag else "DownBlock2D" for flag in config.attention)
    up = tuple("CrossAttnUpBlock2D" if flag else "UpBlock2D" for flag in reversed(config.attention))
    return UNet2DConditionModel(
        sample_size=config.size // config.patch,
        in_channels=in_channels,
        out_channels=out_channels,
        block_out_channels=config.channels,
        layers_per_block=config.layers,
        down_block_types=down,
        up_block_types=up,
        mid_block_type="UNetMidBlock2DCrossAttn",
        cross_attention_dim=config.token_dim,
        attention_head_dim=config.heads,  # diffusers reads this argument as the number of heads
        norm_num_groups=config.groups,
        resnet_time_scale_shift="scale_shift",
        class_embed_type="simple_projection",
        projection_class_embeddings_input_dim=config.identity_dim + config.style_dim + _SCALE_FEATURES,
    )

"""Random conditions and a tiny denoiser that has learned nothing but no longer is the identity."""

from typing import Any

import torch

from idfsr_core.diffusion.conditioning import Conditioning
from idfsr_core.diffusion.config import DenoiserConfig
from idfsr_core.diffusion.denoiser import Denoiser

TINY: dict[str, Any] = {
    "size": 32,
    "channels": (16, 32),
    "attention": (False, True),
    "heads": 2,
    "groups": 8,
    "token_dim": 16,
    "identity_dim": 24,
    "identity_tokens": 2,
    "style_dim": 8,
    "photo_channels": 8,
}


def tiny_denoiser(seed: int = 0, **changes) -> Denoiser:
    """Random weights, the zeroed last layer included."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        denoiser = Denoiser(DenoiserConfig(**(TINY | changes)))
        torch.nn.init.normal_(denoiser.head[2].weight, std=0.1)  # pyright: ignore[reportArgumentType]
    return denoiser.eval()


def random_conditioning(batch: int = 2, places: int = 3, lr: int = 4, seed: int = 0, size: int = 32) -> Conditioning:
    """Noise in every place."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.rand(*shape, generator=generator)
    return Conditioning(
        lr=draw(batch, 3, lr, lr),
        mask=draw(batch, 1, size, size),
        style=draw(batch, 3, size, size),
        style_coverage=torch.ones(batch, 1, size, size),
        references=draw(batch, places, 3, size, size),
        reference_coverage=torch.ones(batch, places, 1, size, size),
        reference_valid=torch.ones(batch, places, dtype=torch.bool),
        identity=torch.nn.functional.normalize(torch.randn(batch, 24, generator=generator)),
    )

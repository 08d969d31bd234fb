"""The smallest files that ComfyUI's own loaders take for an upscaler and for an SD1.5 checkpoint."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]


def write_upscaler(path: Path) -> Path:
    """An ESRGAN (one block of three channels) whose weights make every pixel 4x4 equal ones: 12 KB.

    With weights that are known to do this, what a workflow makes of it can be compared with a plain enlargement.
    """
    shapes: Shapes = {}
    for name, inputs, outputs in [("0", 3, 3), ("1.sub.1", 3, 3), ("3", 3, 3), ("6", 3, 3), ("8", 3, 3), ("10", 3, 3)]:
        shapes |= _layer(f"model.{name}", outputs, inputs, 3, 3)
    for block in range(1, 4):
        for conv in range(1, 6):
            shapes |= _layer(
                f"model.1.sub.0.RDB{block}.conv{conv}.0", 3 if conv == 5 else 32, 3 + 32 * (conv - 1), 3, 3
            )
    state = {name: torch.zeros(shape) for name, shape in shapes.items()}
    for name in ("0", "3", "6", "8", "10"):
        for channel in range(3):
            state[f"model.{name}.weight"][channel, channel, 1, 1] = 1
    return _write(path, state)


def write_sd15(path: Path, seed: int = 0) -> Path:
    """A checkpoint that is recognised as SD1.5: one level instead of four, a TAESD as its VAE, the whole text encoder.

    320 channels and a context of 768 are what it is recognised by; the text encoder has one size only. Random weights,
    small enough for finite pictures. 13.6 M parameters denoise, 2.4 M are the VAE, 123 M read the prompt: 300 MB.
    """
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}
    for prefix, shapes, dtype in (
        ("model.diffusion_model.", _unet(), torch.float32),
        ("first_stage_model.", _taesd(), torch.float32),
        ("cond_stage_model.transformer.text_model.", _clip(), torch.float16),
    ):
        for name, shape in shapes.items():
            state[prefix + name] = _random(name, shape, generator).to(dtype)
    state["first_stage_model.vae_scale"], state["first_stage_model.vae_shift"] = torch.tensor(1.0), torch.tensor(0.0)
    return _write(path, state)


def _random(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Variance kept from layer to layer; norms as they begin."""
    if len(shape) == 1:
        return torch.ones(shape) if name.endswith("weight") else torch.zeros(shape)
    inputs = 768 if "embedding" in name else torch.Size(shape[1:]).numel()
    return torch.randn(shape, generator=generator) / inputs**0.5


def _write(path: Path, state: dict[str, Tensor]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, path)
    return path


def _layer(name: str, outputs: int, *inputs: int, bias: bool = True) -> Shapes:
    """A convolution (``inputs``: channels, height, width), a linear layer (features), or a norm (nothing)."""
    weight = {f"{name}.weight": (outputs, *inputs)}
    return weight | ({f"{name}.bias": (outputs,)} if bias else {})


def _unet() -> Shapes:
    shapes = _layer("time_embed.0", 1280, 320) | _layer("time_embed.2", 1280, 1280)
    shapes |= _layer("input_blocks.0.0", 320, 4, 3, 3) | _residual("input_blocks.1.0", 320)
    shapes |= _transformer("input_blocks.1.1")
    shapes |= _residual("output_blocks.0.0", 640) | _residual("output_blocks.1.0", 640)
    return shapes | _layer("out.0", 320) | _layer("out.2", 4, 320, 3, 3)


def _residual(name: str, inputs: int) -> Shapes:
    shapes = _layer(f"{name}.in_layers.0", inputs) | _layer(f"{name}.in_layers.2", 320, inputs, 3, 3)
    shapes |= _layer(f"{name}.emb_layers.1", 320, 1280)
    shapes |= _layer(f"{name}.out_layers.0", 320) | _layer(f"{name}.out_layers.3", 320, 320, 3, 3)
    return shapes | (_layer(f"{name}.skip_connection", 320, inputs, 1, 1) if inputs != 320 else {})


def _transformer(name: str) -> Shapes:
    shapes = _layer(f"{name}.norm", 320)
    for projection in ("proj_in", "proj_out"):
        shapes |= _layer(f"{name}.{projection}", 320, 320, 1, 1)
    block = f"{name}.transformer_blocks.0"
    for attention, context in (("attn1", 320), ("attn2", 768)):
        shapes |= _layer(f"{block}.{attention}.to_q", 320, 320, bias=False)
        for part in ("to_k", "to_v"):
            shapes |= _layer(f"{block}.{attention}.{part}", 320, context, bias=False)
        shapes |= _layer(f"{block}.{attention}.to_out.0", 320, 320)
    shapes |= _layer(f"{block}.ff.net.0.proj", 2560, 320) | _layer(f"{block}.ff.net.2", 320, 1280)
    for norm in ("norm1", "norm2", "norm3"):
        shapes |= _layer(f"{block}.{norm}", 320)
    return shapes


def _taesd() -> Shapes:
    shapes = _layer("taesd_encoder.0", 64, 3, 3, 3) | _layer("taesd_encoder.14", 4, 64, 3, 3)
    shapes |= _layer("taesd_decoder.1", 64, 4, 3, 3) | _layer("taesd_decoder.19", 3, 64, 3, 3)
    blocks = {"taesd_encoder": (1, 3, 4, 5, 7, 8, 9, 11, 12, 13), "taesd_decoder": (3, 4, 5, 8, 9, 10, 13, 14, 15, 18)}
    resizers = {"taesd_encoder": (2, 6, 10), "taesd_decoder": (7, 12, 17)}
    for part, places in blocks.items():
        for place in places:
            for conv in (0, 2, 4):
                shapes |= _layer(f"{part}.{place}.conv.{conv}", 64, 64, 3, 3)
        for place in resizers[part]:
            shapes |= _layer(f"{part}.{place}", 64, 64, 3, 3, bias=False)
    return shapes


def _clip() -> Shapes:
    shapes: Shapes = {
        "embeddings.token_embedding.weight": (49408, 768),
        "embeddings.position_embedding.weight": (77, 768),
    }
    for index in range(12):
        layer = f"encoder.layers.{index}"
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= _layer(f"{layer}.self_attn.{name}", 768, 768)
        shapes |= _layer(f"{layer}.mlp.fc1", 3072, 768) | _layer(f"{layer}.mlp.fc2", 768, 3072)
        shapes |= _layer(f"{layer}.layer_norm1", 768) | _layer(f"{layer}.layer_norm2", 768)
    return shapes | _layer("final_layer_norm", 768)

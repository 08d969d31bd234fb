"""ComfyUI's own loaders take the small files, and what they do with them is what the workflows' tests count on."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from .checkpoints import write_sd15, write_upscaler
from .client import Client, Prompt
from .server import Server


@pytest.fixture
def picture(server: Server) -> torch.Tensor:
    """[1, 3, 64, 64] in 0..1, also in the server's input folder as small.png."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    cv2.imwrite(str(server.base / "input" / "small.png"), pixels)
    return torch.from_numpy(pixels[..., ::-1].copy()).permute(2, 0, 1)[None] / 255


def load(node: str, **inputs: object) -> dict[str, object]:
    return {"class_type": node, "inputs": inputs}


def test_upscaler_makes_four_by_four_equal_pixels(server: Server, client: Client, picture: torch.Tensor) -> None:
    write_upscaler(server.base / "models" / "upscale_models" / "esrgan.safetensors")
    prompt: Prompt = {
        "1": load("LoadImage", image="small.png"),
        "2": load("UpscaleModelLoader", model_name="esrgan.safetensors"),
        "3": load("ImageUpscaleWithModel", upscale_model=["2", 0], image=["1", 0]),
        "4": load("PreviewImage", images=["3", 0]),
    }
    enlarged = client.pictures(client.run(prompt).outputs["4"])
    expected = torch.nn.functional.interpolate(picture, scale_factor=4, mode="nearest")
    assert (enlarged - expected).abs().max() < 1.5 / 255


def test_sd15_checkpoint_denoises(server: Server, client: Client, picture: torch.Tensor) -> None:
    write_sd15(server.base / "models" / "checkpoints" / "sd15.safetensors")
    before = len(server.log)
    prompt: Prompt = {
        "1": load("LoadImage", image="small.png"),
        "2": load("CheckpointLoaderSimple", ckpt_name="sd15.safetensors"),
        "3": load("CLIPTextEncode", clip=["2", 1], text="a face"),
        "4": load("VAEEncode", pixels=["1", 0], vae=["2", 2]),
        "5": load("KSampler", model=["2", 0], positive=["3", 0], negative=["3", 0], latent_image=["4", 0], seed=1),
        "6": load("VAEDecode", samples=["5", 0], vae=["2", 2]),
        "7": load("PreviewImage", images=["6", 0]),
    }
    prompt["5"]["inputs"] |= {"steps": 2, "cfg": 2.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 0.5}
    result = client.pictures(client.run(prompt).outputs["7"])
    assert result.shape == picture.shape
    assert result.std() > 0.02
    prompt["5"]["inputs"]["seed"] = 2
    other = client.pictures(client.run(prompt).outputs["7"])
    assert (result - other).abs().mean() > 1 / 255
    assert "missing" not in server.log[before:], "weights that the loader looked for"

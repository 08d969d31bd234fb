"""Drawn photos, tiny networks and made-up teachers for the encoder's training."""

from dataclasses import replace

import numpy as np
import torch

from idfsr_core.identity.network import EncoderConfig, EncoderNetwork
from idfsr_core.pretraining.encoder import EncoderSettings
from idfsr_core.pretraining.encoder_data import EncoderPhotos, face_matrices
from idfsr_core.pretraining.encoder_hints import Answer
from tests import tiny

CONFIG = replace(tiny.ENCODER, widths=(12, 16), outputs=(8, 12), dim=12)
KEYPOINTS = np.array([[80, 90], [112, 90], [96, 110], [82, 125], [110, 125]], np.float32)


class Colours:
    """A teacher that looks at the mean colour of four places, and has no features."""

    def embed_aligned(self, faces: np.ndarray) -> np.ndarray:
        return faces.reshape(-1, 2, 56, 2, 56, 3).mean((2, 4)).reshape(-1, 12).astype(np.float32) - 127.5


class Shows:
    """A teacher that is a network with random weights, and shows its features."""

    def __init__(self, config: EncoderConfig = CONFIG) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            self.network = EncoderNetwork(config).requires_grad_(False)
            for value in self.network.parameters():
                value.add_(0.1 * torch.randn_like(value))

    def answer(self, faces: torch.Tensor) -> Answer:
        embedding, _, features = self.network.with_features(faces)
        return Answer(embedding=torch.nn.functional.normalize(embedding), features=tuple(features))

    def embed(self, faces: torch.Tensor) -> torch.Tensor:
        return self.network(faces)[0]

    def embed_aligned(self, faces: np.ndarray) -> np.ndarray:
        return self.answer(torch.from_numpy(faces).permute(0, 3, 1, 2).float() / 255).embedding.numpy()


def drawn(people: int = 4, photos: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Pictures [N, 192, 192, 3] of four coloured quarters, the same for one person, and whom they show."""
    rng = np.random.default_rng(0)
    images = []
    for _ in range(people):
        quarters = rng.integers(0, 256, (2, 2, 3)).repeat(96, 0).repeat(96, 1)
        images += [
            np.clip(quarters + rng.normal(0, 10, quarters.shape), 0, 255).astype(np.uint8) for _ in range(photos)
        ]
    return np.stack(images), np.arange(people).repeat(photos)


def drawn_photos() -> EncoderPhotos:
    """The drawn pictures with what :class:`Colours` says of them."""
    images, people = drawn()
    to_face = face_matrices(np.tile(KEYPOINTS, (len(images), 1, 1)))
    targets = Colours().embed_aligned(images[:, 40:152, 40:152])
    targets /= np.linalg.norm(targets, axis=1, keepdims=True)
    return EncoderPhotos(images=images, to_face=to_face, targets=targets, person=people)


def settings(**changes) -> EncoderSettings:
    """A training of a few steps."""
    short = EncoderSettings(config=CONFIG, batch=8, steps=6, warm_up=2, save_every=3, average=0.9)
    return replace(short, **changes)

"""EdgeFace-XS as a teacher of the compact encoder: embeddings, and features as hints. Needs the package timm."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..identity.edgeface import EdgeFaceTorch
from .encoder_hints import Answer

PLACES = ("stages.0", "stages.1", "stages.2.blocks.3", "stages.2", "stages.3")
"""Where in EdgeFace-XS the hints are read; the third stage is deep enough to be learned in two segments."""


class EdgeFaceTeacher:
    """A ``FeatureTeacher``: one forward gives the unit embedding and the features at :data:`PLACES`.

    Args:
        encoder: on the device where it will be asked; hooks are added to it.
    """

    def __init__(self, encoder: EdgeFaceTorch) -> None:
        self.encoder = encoder
        self._seen: list[Tensor] = []
        for place in PLACES:
            encoder.backbone.get_submodule(place).register_forward_hook(self._see)

    def _see(self, _module: nn.Module, _inputs: object, output: Tensor) -> None:
        self._seen.append(output.permute(0, 2, 3, 1).float())

    @torch.no_grad()
    def answer(self, faces: Tensor) -> Answer:
        """Aligned faces [B, 3, 112, 112] in 0..1 -> unit embeddings [B, 512], features [B, H, W, C] per place."""
        self._seen = []
        embedding = functional.normalize(self.encoder(faces))
        return Answer(embedding=embedding, features=tuple(self._seen))

    def embed(self, faces: Tensor) -> Tensor:
        """Aligned faces [B, 3, 112, 112] in 0..1 -> embeddings [B, 512], with gradients."""
        embedding = self.encoder(faces)
        self._seen = []  # they would keep the whole graph
        return embedding

    def embed_aligned(self, faces: np.ndarray) -> np.ndarray:
        """[B, 112, 112, 3] uint8 RGB -> unit embeddings [B, 512] float32."""
        device = next(self.encoder.parameters()).device
        pixels = torch.from_numpy(np.ascontiguousarray(faces)).to(device).permute(0, 3, 1, 2)
        return self.answer(pixels.float() / 255).embedding.cpu().numpy()

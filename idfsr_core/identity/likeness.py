"""How much faces look like one person, as one encoder sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .embedding import IdentityEmbedding, similarity

if TYPE_CHECKING:
    from .encoders import IdentityEncoder


@dataclass(frozen=True, kw_only=True, eq=False)
class Likeness:
    """A person, and the encoder that knows them.

    Raises:
        EncoderMismatchError: another encoder made the identity.
    """

    identity: IdentityEmbedding
    encoder: IdentityEncoder

    def __post_init__(self) -> None:
        self.identity.check_encoder(self.encoder)

    def of(self, faces: Tensor, keypoints: Tensor) -> list[float]:
        """Cosine of each face with the person, -1..1.

        Args:
            faces: [N, 3, S, S] in 0..1.
            keypoints: [N, 5, 2] in their pixels.
        """
        with torch.inference_mode():
            vectors = self.encoder.embed(faces, keypoints.float()).vectors.float().cpu()
        return similarity(vectors, self.identity.vector).tolist()

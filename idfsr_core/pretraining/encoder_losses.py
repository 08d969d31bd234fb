"""What the compact encoder is taught by."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from .encoder_settings import EncoderSettings


@dataclass(frozen=True, kw_only=True)
class Losses:
    """The parts of the objective for one batch, before their weights."""

    cosine: Tensor  # 1 - cosine to the teacher's embedding
    people: Tensor  # cross entropy of the choice of the right person among all
    relation: Tensor  # how far the similarities to the batch are from the teacher's
    quality: Tensor  # squared error of the predicted cosine
    hints: Tensor = field(default_factory=lambda: torch.zeros(()))  # how far the features are from the teacher's
    difference: Tensor = field(default_factory=lambda: torch.zeros(()))  # the same of what a small step changes

    def total(self, settings: EncoderSettings, done: float) -> Tensor:
        """The weighted sum; people count once the teacher's features are no longer fed."""
        return (
            settings.hint_weight * self.hints
            + settings.difference_weight * self.difference
            + settings.cosine_weight * self.cosine
            + (settings.people_weight * self.people if done >= settings.forced else 0)
            + settings.relation_weight * self.relation
            + settings.quality_weight * self.quality
        )


def encoder_losses(
    embedding: Tensor, quality: Tensor, target: Tensor, prototypes: Tensor, rows: Tensor, sharpness: float
) -> Losses:
    """Compare a batch with its teacher.

    The choice among all people is InfoNCE (arXiv 1807.03748) with the teacher's mean embedding of each person as keys:
    they are fixed, so thousands of negatives cost one small product.

    Args:
        embedding: [B, D], any length.
        quality: [B], predicted cosine.
        target: [B, D], unit norm.
        prototypes: [P, D], unit norm, one per person.
        rows: [B], the prototype of each face; -1 for a face that is nobody's, which takes no part in the choice.
        sharpness: inverse temperature.
    """
    unit = functional.normalize(embedding)
    cosine = (unit * target).sum(1)
    return Losses(
        cosine=(1 - cosine).mean(),
        people=_choice(sharpness * unit @ prototypes.T, rows),
        relation=(unit @ target.T - target @ target.T).square().mean(),
        quality=(quality - cosine.detach().clamp(0, 1)).square().mean(),
    )


def _choice(scores: Tensor, rows: Tensor) -> Tensor:
    """Cross entropy over the rows that are somebody's, 0 where there are none."""
    return functional.cross_entropy(scores, rows, ignore_index=-1, reduction="sum") / (rows >= 0).sum().clamp(min=1)

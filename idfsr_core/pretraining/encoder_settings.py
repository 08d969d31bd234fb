"""Everything that affects the result of the encoder's training, and how it changes on the way."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from ..errors import ArgumentError
from ..identity.network import EncoderConfig
from .encoder_data import SpoilSettings, UnspoiledSettings

_SPOILED_FROM = 0.6  # share of the forced beginning after which spoiled faces enter
_LEAST_RATE = 0.02  # share of the highest learning rate below which it does not fall


@dataclass(frozen=True, kw_only=True)
class EncoderSettings:
    """What :func:`train_encoder` goes by. The figures are ours.

    A training has three overlapping parts: at first the teacher's features are fed to the network (``forced``) and
    all faces are unspoiled; then spoiled faces and the choice among all people come in; at last the difference that
    small steps along a gradient make (``steered``). Shares of the training are told from its steps or its minutes.
    """

    config: EncoderConfig = field(default_factory=EncoderConfig)
    spoil: SpoilSettings = field(default_factory=SpoilSettings)
    unspoiled: UnspoiledSettings = field(default_factory=UnspoiledSettings)
    batch: int = 8
    """Faces per step. Small: with hints a step learns from every place of every face, and more steps learn more."""
    steps: int = 12000
    """Steps of the whole training; the learning rate falls over them as half a cosine."""
    minutes: float | None = None
    """Where given, time takes the place of the steps: the training ends then, and is no longer repeatable."""
    rate: float = 2e-3
    """Highest learning rate of AdamW, reached after the warm-up."""
    warm_up: int = 100
    """Steps over which the learning rate rises."""
    betas: tuple[float, float] = (0.9, 0.98)
    """Of AdamW."""
    decay: float = 0.02
    """Weight decay of AdamW on matrices and kernels."""
    clip: float = 3.0
    """Norm to which larger gradients are cut."""
    average: float = 0.998
    """Share kept per step by the moving average of the weights, which is what is evaluated and shipped."""
    forced: float = 0.45
    """Share of the training over which the probability that a face's segments see the teacher's features falls from 1
    to 0. Spoiled faces enter when 0.6 of it has passed, the people loss after it, whatever the teacher."""
    spoiled: float = 0.35
    """Share of spoiled faces from then on. They get no hints, and the embedding of the clean photo as target."""
    blends: float = 0.5
    """Share of the faces that are fresh blends, where there is a teacher to ask about them."""
    steered: float = 0.5
    """Share of the training after which some faces are steered too, where there is a teacher to ask; 1 for never."""
    steered_faces: float = 0.25
    """Share of a batch that is seen a second time then, after a step: unspoiled faces, at least one, blends first."""
    sharpness: float = 32.0
    """Inverse temperature of the choice among all people."""
    hint_weight: float = 1.0
    difference_weight: float = 1.0
    cosine_weight: float = 2.0
    people_weight: float = 0.1
    relation_weight: float = 5.0
    quality_weight: float = 0.5
    save_every: int = 250
    seed: int = 0

    def __post_init__(self) -> None:
        counts = {"batch": 2, "steps": 1, "save_every": 1}
        for name, least in counts.items():
            self._check(name, getattr(self, name) >= least, f"give {least} or more")
        for name in ("average", "blends"):
            self._check(name, 0 <= getattr(self, name) < 1, "give a share in [0, 1)")
        for name in ("forced", "spoiled", "steered", "steered_faces"):
            self._check(name, 0 <= getattr(self, name) <= 1, "give a share in [0, 1]")

    def _check(self, name: str, fits: bool, remedy: str) -> None:
        if not fits:
            raise ArgumentError(f"EncoderSettings.{name}", getattr(self, name), remedy)

    def forcing(self, done: float) -> float:
        """Probability of being fed the teacher's features when the share ``done`` of the training has passed."""
        return max(0.0, 1 - done / self.forced) if self.forced else 0.0

    def spoiled_share(self, done: float) -> float:
        return self.spoiled if done >= _SPOILED_FROM * self.forced else 0.0

    def steered_count(self, done: float, unspoiled: int) -> int:
        """How many of so many unspoiled faces are steered."""
        return min(unspoiled, max(1, int(self.steered_faces * self.batch))) if done >= self.steered else 0

    def rate_at(self, step: int, done: float) -> float:
        rise = min(1.0, (step + 1) / self.warm_up) if self.warm_up else 1.0
        fall = 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
        return self.rate * rise * max(_LEAST_RATE, fall)

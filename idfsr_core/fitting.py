"""Stage 2: everything frozen but one identity vector, fitted to a few photos of a person.

The vector is the pooled embedding plus a residual that is pulled back to zero (after Cross Initialization,
arXiv 2312.15905). Each step degrades some of the photos, rebuilds them by the frozen denoiser with the others as
references, and moves the residual along the gradient of the error. Weights, rates and counts are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from .diffusion.conditioning import Conditioning, downsample
from .diffusion.judge import Judge
from .diffusion.sampling import SamplingSettings, autocast, sample
from .diffusion.schedule import noisy
from .errors import ArgumentError
from .gradients import differentiable
from .identity.embedding import IdentityEmbedding
from .options import RestoreOptions
from .references import FACE_SIZE, Reference, inner_crop
from .runtime import Runtime
from .steps import judge_for, make_conditioning, make_mask, warp_references
from .warping import keypoints_of

if TYPE_CHECKING:
    from .diffusion.denoiser import Denoiser
    from .identity.encoders import IdentityEncoder

LEAST_TO_KEEP_OUT = 4
MOST_PHOTOS = 20


@dataclass(frozen=True, kw_only=True)
class FittingSettings:
    """How the vector is fitted."""

    steps: int = 60  # optimizer steps at most, 1..2000
    learning_rate: float = 0.003  # of Adam, per entry of the vector; the start has unit norm
    pull: float = 0.05  # weight of the squared length of the residual
    batch: int = 4  # faces a step
    scales: tuple[int, ...] = (8, 16, 32)  # one a step, in turn: 128 over the side of the small face in pixels
    identity_weight: float = 0.5  # of 1 - cosine of the embeddings, beside the pixel error of weight 1
    start_share: float = 0.6  # share of faces at time 1, as in pretraining
    alone: float = 0.25  # share of steps without style and references: only the vector says who it is
    evaluate_every: int = 10  # steps between two looks at the photo kept out
    patience: int = 3  # looks without a gain after which the fit stops
    seed: int = 0

    def __post_init__(self) -> None:
        limits = {"steps": (1, 2000), "learning_rate": (1e-6, 1), "pull": (0, 100), "batch": (1, 64)}
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise ArgumentError(name, getattr(self, name), f"use a value from {low} to {high}")
        if not self.scales or min(self.scales) < 1:
            raise ArgumentError("scales", self.scales, "give scales of 1 or more, such as 8, 16 and 32")


@dataclass(frozen=True, kw_only=True)
class FittingPoint:
    """One look at the fit."""

    step: int  # 0 is the start
    loss: float | None  # mean training loss since the look before, None at the start
    similarity: float | None  # of the restored photo kept out with its truth, mean over the scales; None: none kept out


@dataclass(frozen=True, kw_only=True)
class FittingResult:
    """The fitted vector and how it came about."""

    identity: IdentityEmbedding
    curve: tuple[FittingPoint, ...]
    kept_out: str | None  # name of the photo kept out
    best_step: int  # whose vector is returned; 0: the start was best
    stopped: str  # "steps", "no more gain" or "cancelled"
    steps: int  # done

    @property
    def before(self) -> float | None:
        """Similarity of the photo kept out with the vector that the fit started from; None where none was kept out."""
        return self.curve[0].similarity

    @property
    def after(self) -> float | None:
        """The same with the vector returned."""
        return next((point.similarity for point in self.curve if point.step == self.best_step), self.before)


def fit_identity(
    denoiser: Denoiser,
    encoder: IdentityEncoder,
    start: IdentityEmbedding,
    photos: Sequence[Reference],
    settings: FittingSettings | None = None,
    runtime: Runtime | None = None,
) -> FittingResult:
    """Fit the identity vector of one person.

    Works inside ``torch.inference_mode()`` too. With four photos or more one is kept out of the fit, and the vector
    that restores it best is returned: never a worse one than the start. Cancelling (``runtime.cancelled``) returns the
    best vector so far, or raises before the first step; what ``cancelled`` or ``progress`` raises passes through, and
    leaves the networks as they were. Progress is reported after each step; its picture, [1, 3, S, S * (scales + 1)],
    is the photo kept out as the vector of the last look restores it, at each scale, beside the photo itself.

    Args:
        denoiser: on the runtime's device; its weights are not changed.
        encoder: the one that made ``start``; differentiable.
        start: the pooled identity.
        photos: 1 to 20 photos of the person, prepared at the denoiser's size.
        settings: see :class:`FittingSettings`.
        runtime: device, precision, progress, cancelling.

    Raises:
        ArgumentError: no photos, more than 20, or photos prepared at another size.
        EncoderMismatchError: ``start`` was made by another encoder.
    """
    settings, runtime = settings or FittingSettings(), runtime or Runtime()
    if not 1 <= len(photos) <= MOST_PHOTOS:
        raise ArgumentError("photos", f"{len(photos)} photos", f"give 1 to {MOST_PHOTOS} photos of the person")
    size = denoiser.config.size
    if odd := next((photo for photo in photos if photo.size != size), None):
        value = f"prepared at {odd.size} px, but the denoiser works at {size}"
        raise ArgumentError(f"photo {odd.name}", value, "prepare the photos at the size of this model")
    start.check_encoder(encoder)
    with differentiable(denoiser, getattr(encoder, "network", None)):
        return _Fit(denoiser, encoder, start, photos, settings, runtime).run()


@dataclass(frozen=True, kw_only=True)
class _Faces:
    """Photos at one scale, ready for the denoiser."""

    cond: Conditioning
    target: Tensor  # [B, 3, S, S] 0..1
    keypoints: Tensor  # [B, 5, 2]
    truth: Tensor  # [B, D] embeddings of the targets


@dataclass
class _Best:
    """The best vector so far."""

    vector: Tensor
    similarity: float | None
    step: int = 0
    looks_since: int = 0


@dataclass
class _State:
    curve: list[FittingPoint] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)


class _Fit:
    """One run of the fit."""

    def __init__(
        self,
        denoiser: Denoiser,
        encoder: IdentityEncoder,
        start: IdentityEmbedding,
        photos: Sequence[Reference],
        settings: FittingSettings,
        runtime: Runtime,
    ) -> None:
        self.denoiser, self.encoder, self.settings, self.runtime = denoiser, encoder, settings, runtime
        self.rng = np.random.default_rng(settings.seed)
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.start = start
        self.origin = torch.as_tensor(start.vector).detach().clone().float().to(runtime.device)
        held = int(self.rng.integers(len(photos))) if len(photos) >= LEAST_TO_KEEP_OUT else None
        used = [photo for place, photo in enumerate(photos) if place != held]
        self.kept_out = None if held is None else photos[held]
        self.preview: Tensor | None = None
        self.faces = [self._prepare(used, None, scale) for scale in settings.scales]
        self.test = [] if held is None else [self._prepare(used, photos[held], scale) for scale in settings.scales]

    def run(self) -> FittingResult:
        """Take the steps."""
        residual = nn.Parameter(torch.zeros_like(self.origin))
        optimizer = torch.optim.Adam([residual], lr=self.settings.learning_rate)
        best, state, stopped = self._look_at_start(), _State(), "steps"
        state.curve.append(FittingPoint(step=0, loss=None, similarity=best.similarity))
        step = 0
        for step in range(1, self.settings.steps + 1):
            if self.runtime.cancelled():
                stopped, step = "cancelled", step - 1
                break
            state.losses.append(self._step(step, residual, optimizer))
            if step % self.settings.evaluate_every == 0 or step == self.settings.steps:
                self._look(step, residual, best, state)
            self.runtime.progress(step, self.settings.steps, self.preview)
            if best.looks_since >= self.settings.patience:
                stopped = "no more gain"
                break
        identity = replace(self.start, vector=best.vector.cpu(), kind="fitted") if best.step else self.start
        return FittingResult(
            identity=identity,
            curve=tuple(state.curve),
            kept_out=self.kept_out.name if self.kept_out else None,
            best_step=best.step,
            stopped=stopped,
            steps=step,
        )

    def _look_at_start(self) -> _Best:
        return _Best(vector=self.origin.clone(), similarity=self._similarity(self.origin))

    def _look(self, step: int, residual: Tensor, best: _Best, state: _State) -> None:
        """Measure the vector; with no photo kept out the newest counts as the best."""
        vector = (self.origin + residual).detach()
        similarity = self._similarity(vector)
        state.curve.append(FittingPoint(step=step, loss=float(np.mean(state.losses)), similarity=similarity))
        state.losses.clear()
        best.looks_since += 1
        if similarity is None or best.similarity is None or similarity > best.similarity:
            best.vector, best.similarity, best.step, best.looks_since = vector.clone(), similarity, step, 0

    def _step(self, step: int, residual: nn.Parameter, optimizer: torch.optim.Optimizer) -> float:
        faces = self.faces[step % len(self.faces)]
        chosen = torch.from_numpy(self.rng.permutation(len(faces.target))[: self.settings.batch])
        cond, target = faces.cond.select(chosen), faces.target[chosen] * 2 - 1
        if self.rng.random() < self.settings.alone:
            cond = replace(cond.without_style(), reference_valid=torch.zeros_like(cond.reference_valid))
        cond = cond.with_identity(self.origin + residual)
        time = torch.rand(len(target), generator=self.generator)
        at_start = torch.rand(len(target), generator=self.generator) < self.settings.start_share
        time = torch.where(at_start, 1.0, time).to(target.device)
        noise = torch.randn(target.shape, generator=self.generator).to(target.device)
        start = self.denoiser.start(cond)
        x = noisy(target, start, noise, self.denoiser.config.start_noise, time)
        slope = None
        if self.denoiser.config.slope and (judge := self._judge(faces, chosen)) and judge.leads:
            slope = judge.slope((start + 1) / 2, cond.identity)  # of the vector as it is: no gradient of a gradient
        with autocast(target.device, self.runtime):
            estimate = self.denoiser(x, time, cond, slope).float()
            found = self.encoder.embed((estimate + 1) / 2, faces.keypoints[chosen]).vectors
        identity = 1 - (found.float() * faces.truth[chosen]).sum(1).mean()
        loss = (estimate - target).abs().mean() + self.settings.identity_weight * identity
        loss = loss + self.settings.pull * residual.square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    @torch.no_grad()
    def _similarity(self, vector: Tensor) -> float | None:
        """Of the restored photo kept out with its truth; None where none was kept out."""
        if not self.test:
            return None
        quiet = replace(self.runtime, progress=Runtime().progress, cancelled=Runtime().cancelled)
        found, seen = [], []
        for faces in self.test:
            cond, judge = faces.cond.with_identity(vector), self._judge(faces)
            restored = sample(self.denoiser, cond, SamplingSettings(steps=1), quiet, judge)
            embedding = self.encoder.embed(restored, faces.keypoints).vectors
            found.append(float((embedding * faces.truth).sum()))
            seen.append(restored)
        self.preview = torch.cat((*seen, self.test[0].target), -1)
        return float(np.mean(found))

    def _judge(self, faces: _Faces, chosen: Tensor | slice = slice(None)) -> Judge | None:
        """The encoder, and where these faces are, as the restoration would have it."""
        return judge_for(self.start.photos, Judge(encoder=self.encoder, find=lambda _: faces.keypoints[chosen]))

    @torch.no_grad()
    def _prepare(self, used: list[Reference], target: Reference | None, scale: int) -> _Faces:
        """Each of the photos (or ``target`` alone) degraded, with the others as its references."""
        targets = used if target is None else [target]
        each = [self._one([other for other in used if other is not photo], photo, scale) for photo in targets]
        cond = Conditioning(
            **{name: torch.cat([getattr(faces.cond, name) for faces in each]) for name in Conditioning.__annotations__}
        )
        return _Faces(
            cond=cond,
            target=torch.cat([faces.target for faces in each]),
            keypoints=torch.cat([faces.keypoints for faces in each]),
            truth=torch.cat([faces.truth for faces in each]),
        )

    def _one(self, others: list[Reference], photo: Reference, scale: int) -> _Faces:
        self.runtime.check()
        device, size = self.runtime.device, self.denoiser.config.size
        target = inner_crop(photo).clone().to(device)
        landmarks = (photo.landmarks[None].clone() - photo.margin).to(device)
        # Real faces are as small for a large model as for a small one.
        lr, enlarged = downsample(target, max(1, round(FACE_SIZE / scale))), scale * size / FACE_SIZE
        options = RestoreOptions(refine=False)
        mask = make_mask(landmarks, enlarged, options, size)
        warped = warp_references(others, landmarks, lr, mask, options)
        keypoints = keypoints_of(landmarks)
        return _Faces(
            cond=make_conditioning(lr, mask, warped, self.origin),
            target=target,
            keypoints=keypoints,
            truth=self.encoder.embed(target, keypoints).vectors.detach().clone(),
        )

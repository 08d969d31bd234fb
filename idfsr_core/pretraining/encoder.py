"""Training of the compact encoder: a teacher's embedding of the clean photo, from a photo that is not."""

from __future__ import annotations

import csv
import json
import math
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from ..errors import ArgumentError, FileFormatError
from ..identity.network import EncoderConfig, EncoderNetwork
from ..runtime import Runtime
from .encoder_blends import TO_FACE, fresh_blends
from .encoder_data import EncoderPhotos, SpoilSettings, Teacher, spoil

CHECKPOINT = "encoder-training.safetensors"
_FORMAT = "idfsr-encoder-training-1"


@dataclass(frozen=True, kw_only=True)
class EncoderSettings:
    """Everything that affects the result of :func:`train_encoder`. The figures are ours."""

    config: EncoderConfig = field(default_factory=EncoderConfig)
    spoil: SpoilSettings = field(default_factory=SpoilSettings)
    batch: int = 64
    """Faces per step."""
    steps: int = 5000
    """Steps of the whole training; the learning rate falls over them as half a cosine."""
    minutes: float | None = None
    """Where given, time takes the place of the steps: the training ends then, and is no longer repeatable."""
    rate: float = 2e-3
    """Highest learning rate of AdamW, reached after the warm-up."""
    warm_up: int = 200
    """Steps over which the learning rate rises."""
    decay: float = 0.05
    """Weight decay of AdamW on matrices and kernels."""
    average: float = 0.998
    """Share kept per step by the moving average of the weights, which is what is evaluated and shipped."""
    sharpness: float = 32.0
    """Inverse temperature of the choice among all people."""
    cosine_weight: float = 2.0
    people_weight: float = 0.1
    relation_weight: float = 5.0
    quality_weight: float = 0.5
    blends: float = 0.5
    """Share of the faces that are fresh blends, where there is a teacher to ask about them."""
    early: float = 0.3
    """Share of the training over which the additional clean faces of the beginning fade out."""
    save_every: int = 250
    seed: int = 0

    def __post_init__(self) -> None:
        if (
            self.batch < 2
            or self.steps < 1
            or self.save_every < 1
            or not 0 <= self.average < 1
            or not 0 <= self.blends < 1
        ):
            raise ArgumentError(
                "EncoderSettings",
                f"batch {self.batch}, steps {self.steps}, save_every {self.save_every}, average {self.average}, "
                f"blends {self.blends}",
                "give two faces or more per batch, at least one step, and an average and blends in [0, 1)",
            )


@dataclass(frozen=True, kw_only=True)
class Losses:
    """The parts of the objective for one batch, before their weights."""

    cosine: Tensor  # 1 - cosine to the teacher's embedding of the clean photo
    people: Tensor  # cross entropy of the choice of the right person among all
    relation: Tensor  # how far the similarities to the batch are from the teacher's
    quality: Tensor  # squared error of the predicted cosine

    def total(self, settings: EncoderSettings) -> Tensor:
        return (
            settings.cosine_weight * self.cosine
            + settings.people_weight * self.people
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


class _State:
    """All that a training carries from step to step, and its file."""

    def __init__(self, settings: EncoderSettings, device: str) -> None:
        torch.manual_seed(settings.seed)
        self.network = EncoderNetwork(settings.config).to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.averaged = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        parameters = list(self.network.parameters())
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=settings.rate, betas=(0.9, 0.99))
        self.step = 0
        self.seconds = 0.0

    def update_average(self, keep: float) -> None:
        keep = min(keep, (1 + self.step) / (10 + self.step))
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                self.averaged[name].lerp_(value, 1 - keep)
            else:
                self.averaged[name].copy_(value)

    def _optimizer_tensors(self) -> dict[str, Tensor]:
        state = self.optimizer.state_dict()["state"]
        return {f"optimizer.{index}.{key}": value for index, values in state.items() for key, value in values.items()}

    def save(self, path: Path, settings: EncoderSettings) -> None:
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"averaged.{name}": value for name, value in self.averaged.items()}
        tensors |= self._optimizer_tensors()
        tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        told = {"step": self.step, "seconds": self.seconds, "config": settings.config.to_dict()}
        handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
        os.close(handle)
        try:
            save_file(tensors, name, {"format": _FORMAT, "training": json.dumps(told)})
            os.replace(name, path)
        finally:
            Path(name).unlink(missing_ok=True)

    def load(self, path: Path) -> None:
        tensors, told = read_checkpoint(path)
        self.network.load_state_dict(_part(tensors, "network."))
        self.averaged = {name: v.to(self.averaged[name].device) for name, v in _part(tensors, "averaged.").items()}
        saved: dict[int, dict[str, Tensor]] = {}
        for name, value in _part(tensors, "optimizer.").items():
            index, key = name.split(".")
            saved.setdefault(int(index), {})[key] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": saved, "param_groups": groups})
        self.step, self.seconds = told["step"], told["seconds"]


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict]:
    """The tensors of a training checkpoint and what its metadata tells (step, seconds, config).

    Raises:
        FileFormatError: the file is damaged or something else.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise FileFormatError(f"encoder checkpoint {path}", error, "delete it and start the training again") from error
    if metadata.get("format") != _FORMAT:
        raise FileFormatError(f"encoder checkpoint {path}", metadata.get("format"), f"give a file of format {_FORMAT}")
    return tensors, json.loads(metadata["training"])


def averaged_network(path: Path) -> EncoderNetwork:
    """The averaged weights of a training checkpoint as a network in evaluation mode."""
    tensors, told = read_checkpoint(path)
    network = EncoderNetwork(EncoderConfig.from_dict(told["config"]))
    network.load_state_dict(_part(tensors, "averaged."))
    return network.eval().requires_grad_(False)


def _progress(state: _State, settings: EncoderSettings) -> float:
    if settings.minutes is not None:
        return state.seconds / (60 * settings.minutes)
    return state.step / settings.steps


@dataclass(frozen=True, kw_only=True)
class _Batch:
    faces: Tensor  # [B, 3, 112, 112] 0..1
    targets: Tensor  # [B, D] unit norm
    rows: Tensor  # [B] prototype of each face, -1 for blends

    def to(self, device: str) -> _Batch:
        faces = self.faces.to(device, memory_format=torch.channels_last)
        return _Batch(faces=faces, targets=self.targets.to(device), rows=self.rows.to(device))


def _batch(
    photos: EncoderPhotos, rows: np.ndarray, teacher: Teacher | None, settings: EncoderSettings, step: int, done: float
) -> _Batch:
    """A batch, the same for equal seed, step and progress."""
    rng = np.random.default_rng([settings.seed, step])
    count = round(settings.batch * settings.blends) if teacher else 0
    chosen = rng.integers(len(photos), size=settings.batch - count)
    extra = 0.5 * max(0.0, 1 - done / settings.early) if settings.early else 0.0
    spoiling = replace(settings.spoil, clean=settings.spoil.clean + extra * (1 - settings.spoil.clean))
    faces = [spoil(photos.images[i], photos.to_face[i], rng, spoiling) for i in chosen]
    targets, labels = photos.targets[chosen], rows[chosen]
    if teacher and count:
        images, wanted = fresh_blends(photos, teacher, count, rng)
        faces += [spoil(image, TO_FACE, rng, spoiling) for image in images]
        targets = np.concatenate((targets, wanted.astype(np.float32)))
        labels = np.concatenate((labels, np.full(count, -1)))
    return _Batch(
        faces=torch.from_numpy(np.stack(faces)).permute(0, 3, 1, 2).float().div_(255),
        targets=torch.from_numpy(targets),
        rows=torch.from_numpy(labels),
    )


def _train_step(state: _State, batch: _Batch, prototypes: Tensor, settings: EncoderSettings, dtype) -> Losses:
    state.network.train()
    with torch.autocast(batch.faces.device.type, dtype, enabled=dtype != torch.float32):
        embedding, quality = state.network(batch.faces)
    losses = encoder_losses(embedding, quality, batch.targets, prototypes, batch.rows, sharpness=settings.sharpness)
    rise = min(1.0, (state.step + 1) / settings.warm_up) if settings.warm_up else 1.0
    fall = 0.5 * (1 + math.cos(math.pi * min(1.0, _progress(state, settings))))
    for group in state.optimizer.param_groups:
        group["lr"] = settings.rate * rise * max(fall, 1e-3)
    state.optimizer.zero_grad(set_to_none=True)
    losses.total(settings).backward()
    torch.nn.utils.clip_grad_norm_(state.network.parameters(), 5.0)
    state.optimizer.step()
    state.step += 1
    state.update_average(settings.average)
    return losses


def _log(path: Path, step: int, values: dict[str, float]) -> None:
    fresh = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if fresh:
            writer.writerow(["step", *values])
        writer.writerow([step, *(f"{value:.5f}" for value in values.values())])


def train_encoder(
    settings: EncoderSettings,
    photos: EncoderPhotos,
    folder: Path,
    *,
    teacher: Teacher | None = None,
    runtime: Runtime | None = None,
    watch: Callable[[int, Path], None] | None = None,
) -> Path:
    """Train a compact encoder, or go on with a training that was interrupted.

    Args:
        settings: everything that affects the result.
        photos: the people to learn from, with the teacher's embeddings.
        folder: gets ``encoder-training.safetensors`` (weights, average, optimiser, step; always whole) and
            ``encoder-log.csv``. A checkpoint that lies there is continued; bit for bit where ``minutes`` is None.
        teacher: is asked about the blends; None trains on the photos alone.
        runtime: device, precision, progress and cancelling.
        watch: called with the step and the checkpoint's path whenever one was written.

    Returns:
        The checkpoint's path, for :func:`averaged_network`.

    Raises:
        Cancelled: the runtime was told to stop; the last checkpoint stays.
        FileFormatError: the checkpoint in ``folder`` is damaged.
    """
    runtime = runtime or Runtime()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / CHECKPOINT
    state = _State(settings, runtime.device)
    if path.exists():
        state.load(path)
    prototypes, rows = photos.prototypes()
    known = torch.from_numpy(prototypes).to(runtime.device)
    last, sums, since = time.monotonic(), {}, 0
    while _progress(state, settings) < 1:
        runtime.check()
        batch = _batch(photos, rows, teacher, settings, state.step, _progress(state, settings)).to(runtime.device)
        losses = _train_step(state, batch, known, settings, runtime.torch_dtype)
        for name in Losses.__dataclass_fields__:
            sums[name] = sums.get(name, 0.0) + float(getattr(losses, name).detach())
        since += 1
        state.seconds, last = state.seconds + time.monotonic() - last, time.monotonic()
        runtime.progress(state.step, settings.steps, None)
        if state.step % settings.save_every == 0 or _progress(state, settings) >= 1:
            state.save(path, settings)
            means = {name: value / since for name, value in sums.items()}
            _log(folder / "encoder-log.csv", state.step, {**means, "seconds": state.seconds})
            sums, since = {}, 0
            if watch is not None:
                watch(state.step, path)
    return path

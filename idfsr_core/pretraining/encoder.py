"""Training of the compact encoder: a teacher's embedding of the clean photo, from a photo that may not be clean."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch.nn import functional

from ..runtime import Runtime
from .encoder_batches import Lesson, People, lesson
from .encoder_checkpoint import CHECKPOINT, EncoderState, averaged_network, read_checkpoint
from .encoder_data import EncoderPhotos, Teacher
from .encoder_hints import check_teacher, fed, hint_loss
from .encoder_losses import Losses, encoder_losses
from .encoder_settings import EncoderSettings
from .encoder_steered import difference_loss

__all__ = ["CHECKPOINT", "EncoderSettings", "averaged_network", "encoder_losses", "read_checkpoint", "train_encoder"]


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
        teacher: is asked about blends, steered faces and unspoiled ones; a ``FeatureTeacher`` gives hints too. None
            trains on the photos' embeddings alone.
        runtime: device, precision, progress and cancelling.
        watch: called with the step and the checkpoint's path whenever one was written.

    Returns:
        The checkpoint's path, for :func:`averaged_network`.

    Raises:
        ArgumentError: the teacher's answers do not fit the network.
        Cancelled: the runtime was told to stop; the last checkpoint stays.
        FileFormatError: the checkpoint in ``folder`` is damaged.
    """
    runtime = runtime or Runtime()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / CHECKPOINT
    state = EncoderState(settings, runtime.device)
    if teacher is not None:
        check_teacher(teacher, state.network)
    if path.exists():
        state.load(path)
    people = People.of(photos, runtime.device)
    last, sums = time.monotonic(), _Means()
    while (done := _progress(state, settings)) < 1:
        runtime.check()
        batch = lesson(people, state.network, teacher, settings, state.step, done)
        sums.add(_train_step(state, batch, people, settings, done, runtime.torch_dtype))
        state.seconds, last = state.seconds + time.monotonic() - last, time.monotonic()
        runtime.progress(state.step, settings.steps, None)
        if state.step % settings.save_every == 0 or _progress(state, settings) >= 1:
            state.save(path, settings)
            _log(folder / "encoder-log.csv", state.step, {**sums.take(), "seconds": state.seconds})
            if watch is not None:
                watch(state.step, path)
    return path


def _progress(state: EncoderState, settings: EncoderSettings) -> float:
    if settings.minutes is not None:
        return state.seconds / (60 * settings.minutes)
    return state.step / settings.steps


def _train_step(
    state: EncoderState, batch: Lesson, people: People, settings: EncoderSettings, done: float, dtype: torch.dtype
) -> Losses:
    state.network.train()
    losses = _losses(state, batch, people, settings, dtype)
    for group in state.optimizer.param_groups:
        group["lr"] = settings.rate_at(state.step, done)
    state.optimizer.zero_grad(set_to_none=True)
    losses.total(settings, done).backward()
    torch.nn.utils.clip_grad_norm_(state.network.parameters(), settings.clip)
    state.optimizer.step()
    state.step += 1
    state.update_average(settings.average)
    return losses


def _losses(
    state: EncoderState, batch: Lesson, people: People, settings: EncoderSettings, dtype: torch.dtype
) -> Losses:
    with torch.autocast(batch.faces.device.type, dtype, enabled=dtype != torch.float32):
        embedding, quality, features = state.network.with_features(batch.faces, fed(batch.hints, batch.fed))
        after = state.network(batch.led)[0] if len(batch.led) else None
    losses = encoder_losses(embedding, quality, batch.targets, people.prototypes, batch.rows, settings.sharpness)
    losses = replace(losses, hints=hint_loss(features, batch.hints))
    if after is None:
        return losses
    count = len(after)
    found = functional.normalize(embedding[:count]), functional.normalize(after)
    return replace(losses, difference=difference_loss(found, (batch.targets[:count], batch.led_targets)))


class _Means:
    """Means of the losses since they were last taken."""

    def __init__(self) -> None:
        self._seen: list[dict[str, float]] = []

    def add(self, losses: Losses) -> None:
        self._seen.append({name: float(value.detach()) for name, value in vars(losses).items()})

    def take(self) -> dict[str, float]:
        seen, self._seen = self._seen, []
        return {name: sum(values[name] for values in seen) / len(seen) for name in seen[0]}


def _log(path: Path, step: int, values: dict[str, float]) -> None:
    fresh = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if fresh:
            writer.writerow(["step", *values])
        writer.writerow([step, *(f"{value:.5f}" for value in values.values())])

"""The training loop of the compact analyzer's networks: seeded by step, resumable bit for bit, averaged weights."""

from __future__ import annotations

import csv
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..errors import ArgumentError, FileFormatError
from ..images import atomic_path
from ..runtime import Runtime

LossOf = Callable[[nn.Module, torch.Generator], dict[str, Tensor]]


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """How long and how fast to learn."""

    steps: int  # updates in all, across resumptions
    rate: float = 2e-3  # highest learning rate of AdamW; rises over the first 5 % and falls as a cosine
    decay: float = 0.02  # weight decay
    average: float = 0.998  # of the exponential moving average of the weights, which is what is kept
    seed: int = 0
    save_every: int = 200

    def __post_init__(self) -> None:
        if self.steps < 1 or self.save_every < 1:
            raise ArgumentError("LoopSettings.steps", self.steps, "use one step or more")


def run_loop(model: nn.Module, loss_of: LossOf, path: Path, settings: LoopSettings, runtime: Runtime) -> nn.Module:
    """Train ``model`` to ``settings.steps``, going on from ``path`` where it exists; returns the averaged model.

    ``loss_of(model, generator)`` gives named scalars, the one called "loss" being minimised. Its generator is seeded
    by the step, so a resumed run sees what an unbroken one would have seen. The log lies beside the checkpoint.
    """
    names = dict(model.named_parameters())
    optimiser = torch.optim.AdamW(names.values(), lr=settings.rate, weight_decay=settings.decay, betas=(0.9, 0.98))
    average = {name: value.detach().clone() for name, value in model.state_dict().items()}
    start = load_checkpoint(path, model, average, optimiser) if path.exists() else 0
    began, losses = time.monotonic(), {}
    for step in range(start, settings.steps):
        runtime.check()
        for group in optimiser.param_groups:
            group["lr"] = settings.rate * rate_at(step / settings.steps)
        losses = _update(model, loss_of, optimiser, torch.Generator().manual_seed(settings.seed * 1_000_003 + step))
        _follow(average, model, min(settings.average, (step + 1) / (step + 10)))
        done = step + 1
        if done % settings.save_every == 0 or done == settings.steps:
            save_checkpoint(path, model, average, optimiser, done, settings)
        if done % 20 == 0 or done == settings.steps:
            _log(path.with_suffix(".csv"), done, time.monotonic() - began, losses)
        runtime.progress(done, settings.steps)
    model.load_state_dict(average)
    return model.eval()


def rate_at(part: float) -> float:
    """Learning rate over its highest value when ``part`` (0..1) of the steps is done."""
    return min(part / 0.05 + 1e-2, 1.0) * (0.5 + 0.5 * math.cos(math.pi * part)) if part < 1 else 0.0


def _update(model: nn.Module, loss_of: LossOf, optimiser: torch.optim.Optimizer, generator: torch.Generator) -> dict:
    model.train()
    optimiser.zero_grad(set_to_none=True)
    losses = loss_of(model, generator)
    losses["loss"].backward()
    nn.utils.clip_grad_norm_(model.parameters(), 5.0)
    optimiser.step()
    return losses


@torch.no_grad()
def _follow(average: dict[str, Tensor], model: nn.Module, keep: float) -> None:
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            average[name].lerp_(value, 1 - keep)
        else:
            average[name].copy_(value)


def save_checkpoint(
    path: Path, model: nn.Module, average: dict, optimiser: torch.optim.Optimizer, step: int, settings: LoopSettings
) -> None:
    """Write model, averaged weights and the optimiser's moments to one safetensors file, atomically."""
    tensors = {f"model.{k}": v.detach().contiguous().clone() for k, v in model.state_dict().items()}
    tensors |= {f"average.{k}": v.contiguous().clone() for k, v in average.items()}
    for name, value in model.named_parameters():
        for key, moment in optimiser.state[value].items():
            tensors[f"moment.{key}.{name}"] = moment.contiguous().clone()
    config = getattr(model, "config", None)
    note = {"step": step, "settings": asdict(settings), "config": config.to_dict() if config else {}}
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={"idfsr": json.dumps(note)})


def load_checkpoint(path: Path, model: nn.Module, average: dict, optimiser: torch.optim.Optimizer) -> int:
    """Fill model, average and optimiser from a checkpoint; returns the number of steps done.

    Raises:
        FileFormatError: the file is damaged or was written for another network.
    """
    try:
        with safe_open(str(path), "pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            step = int(json.loads(file.metadata()["idfsr"])["step"])
        model.load_state_dict({k: tensors[f"model.{k}"] for k in model.state_dict()})
        for name in average:
            average[name].copy_(tensors[f"average.{name}"])
        for name, value in model.named_parameters():
            keys = [key for key in tensors if key.startswith("moment.") and key.split(".", 2)[2] == name]
            optimiser.state[value] = {key.split(".", 2)[1]: tensors[key] for key in keys}
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise FileFormatError(
            f"checkpoint {path}", "damaged or of another network", "delete it to start anew"
        ) from error
    return step


def _log(path: Path, step: int, seconds: float, losses: dict[str, Tensor]) -> None:
    fresh = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if fresh:
            writer.writerow(["step", "seconds", *losses])
        writer.writerow([step, f"{seconds:.1f}", *(f"{value.item():.5f}" for value in losses.values())])

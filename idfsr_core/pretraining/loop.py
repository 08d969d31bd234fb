"""Stage 1: teach the denoiser to rebuild faces, keeping style and identity apart.

Runs as it is on one CPU or GPU, and under ``accelerate launch`` on many GPUs and machines: every process draws its own
batches, gradients are averaged, the first process writes. What decides how the loop goes on (where it starts, whether a
step counts, when it stops) has to be the same everywhere, or the others wait for ever.
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ..diffusion.conditioning import Conditioning
from ..diffusion.config import DenoiserConfig
from ..diffusion.denoiser import Denoiser
from ..diffusion.judge import Judge
from ..diffusion.sampling import SamplingSettings, sample
from ..diffusion.schedule import noisy
from ..errors import ArgumentError
from ..runtime import Runtime
from .batches import Batch, BatchMaker
from .checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint
from .losses import EncoderLoss, LossSettings, reconstruction_loss
from .sheets import write_sheet


@dataclass(frozen=True, kw_only=True)
class PretrainSettings:
    """How long and how fast."""

    output: Path  # checkpoints, log.csv and sheets go here
    steps: int = 4000  # optimizer steps in all, continued ones included
    learning_rate: float = 4e-4  # peak; warmed up linearly, then a cosine down to a twentieth
    warmup: int = 100  # steps
    ema_decay: float = 0.995  # of the averaged weights, warmed up as (1 + step) / (10 + step)
    start_share: float = 0.8  # share of faces trained at time 1, where every sampling begins; the rest 0..1
    weight_decay: float = 0.01
    clip: float = 1.0  # largest gradient norm
    seed: int = 0
    save_every: int = 200  # steps
    sheet_every: int = 400  # steps
    precision: str = "bf16"  # accelerate's mixed precision: no, bf16, fp16
    workers: int = 1  # processes that draw batches
    minutes: float | None = None  # stop (with a checkpoint) after so long
    losses: LossSettings = field(default_factory=LossSettings)

    def __post_init__(self) -> None:
        if self.steps < 1 or self.warmup < 0 or self.workers < 0:
            raise ArgumentError(
                "steps, warmup, workers", (self.steps, self.warmup, self.workers), "use positive counts"
            )

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        done = min(1.0, (step - self.warmup) / max(1, self.steps - self.warmup))
        return self.learning_rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done)))


class _Steps(torch.utils.data.IterableDataset):
    """Batches from one step on; worker i of n takes every n-th."""

    def __init__(self, maker: BatchMaker, first: int, last: int, process: int) -> None:
        self.maker, self.first, self.last, self.process = maker, first, last, process

    def __iter__(self) -> Iterator[Batch]:
        worker = torch.utils.data.get_worker_info()
        offset, stride = (worker.id, worker.num_workers) if worker else (0, 1)
        for step in range(self.first + offset, self.last, stride):
            yield self.maker.make(step, self.process)


def pretrain(
    config: DenoiserConfig,
    maker: BatchMaker,
    settings: PretrainSettings,
    encoder: EncoderLoss | None = None,
    judge: Judge | None = None,
) -> dict[str, Tensor]:
    """Train, or continue the newest checkpoint of ``settings.output``; returns the averaged weights.

    Args:
        config: of the denoiser; the checkpoint's own has to be the same.
        maker: draws the batches.
        settings: how long, how fast, where to.
        encoder: for the identity and feature terms; None trains by pixels alone. It is moved to the device.
        judge: on the device; made the library's embeddings, and gives the slopes of a denoiser that sees them. None:
            there are none, and it learns to go without.

    Raises:
        ArgumentError: the checkpoint is of another configuration, or not all processes see it.
    """
    from accelerate import Accelerator

    accelerator = Accelerator(mixed_precision=settings.precision, cpu=not torch.cuda.is_available())
    torch.manual_seed(settings.seed)
    raw = Denoiser(config)
    optimizer = torch.optim.AdamW(
        raw.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    ema = {name: value.detach().clone() for name, value in raw.state_dict().items()}
    first = 0
    if newest := latest_checkpoint(settings.output):
        ema, info = load_checkpoint(newest, raw, optimizer)
        first = info["step"]
        if info["config"] != _plain(config.to_dict()):
            raise ArgumentError("configuration", f"not that of {newest}", "choose another output folder")
    _check_start(accelerator, first)
    judge = judge if config.slope else None
    if encoder is not None:
        encoder.to(accelerator.device)
    model, optimizer = accelerator.prepare(raw, optimizer)
    ema = {name: value.to(accelerator.device) for name, value in ema.items()}
    steps = _Steps(maker, first, settings.steps, accelerator.process_index)
    loader = torch.utils.data.DataLoader(
        steps, batch_size=None, num_workers=settings.workers, prefetch_factor=2 if settings.workers else None,
        worker_init_fn=_one_thread,
    )  # fmt: skip
    began = time.monotonic()
    log = _Log(settings.output / "log.csv", accelerator.is_main_process, first)
    for step, batch in enumerate(loader, first):
        terms = _train_step(accelerator, model, optimizer, batch, settings, encoder, judge, step)
        _average(ema, accelerator.unwrap_model(model), min(settings.ema_decay, (1 + step) / (10 + step)))
        log.write(step + 1, terms, maker.settings.batch * accelerator.num_processes, batch.cond.scale)
        late = settings.minutes is not None and _any(accelerator, time.monotonic() - began > settings.minutes * 60)
        last = late or step + 1 == settings.steps
        if accelerator.is_main_process and (last or (step + 1) % settings.save_every == 0):
            info = {"config": config.to_dict(), "batches": asdict(maker.settings), "seed": settings.seed}
            info["processes"] = accelerator.num_processes
            save_checkpoint(settings.output, step + 1, accelerator.unwrap_model(model), ema, optimizer, info)
        if accelerator.is_main_process and (last or (step + 1) % settings.sheet_every == 0):
            _draw_sheet(config, ema, maker, settings.output / f"sheet-{step + 1:07d}.png", accelerator.device, judge)
        if last:
            break
    accelerator.wait_for_everyone()  # nobody leaves before the checkpoint is there
    return {name: value.cpu() for name, value in ema.items()}


def _check_start(accelerator, first: int) -> None:
    """Raise ArgumentError unless all processes go on from the same step."""
    steps = accelerator.gather(torch.tensor([first], device=accelerator.device)).tolist()
    if len(set(steps)) > 1:
        value = f"checkpoints of steps {', '.join(map(str, steps))} in different processes"
        raise ArgumentError("--output", value, "name a folder that all machines share")


def _any(accelerator, flag: bool) -> bool:
    """Whether it is so in any process."""
    return bool(accelerator.gather(torch.tensor([int(flag)], device=accelerator.device)).any())


def _train_step(
    accelerator,
    model,
    optimizer,
    batch: Batch,
    settings: PretrainSettings,
    encoder: EncoderLoss | None,
    judge: Judge | None,
    step: int,
) -> dict[str, float]:
    denoiser = accelerator.unwrap_model(model)
    cond, device = batch.cond.to(accelerator.device), accelerator.device
    target, keypoints = batch.target.to(device) * 2 - 1, batch.keypoints.to(device)
    generator = torch.Generator().manual_seed(hash((settings.seed, step, accelerator.process_index)) % 2**62)
    time_ = torch.rand(len(target), generator=generator)
    time_ = torch.where(torch.rand(len(target), generator=generator) < settings.start_share, 1.0, time_).to(device)
    noise = torch.randn(target.shape, generator=generator).to(device)
    with accelerator.autocast():
        known = cond.identity * batch.several.to(device)[:, None]  # one photo leads nobody, see steps.judge_for
        x, slope = _on_its_own_path(denoiser, cond, noise, time_, judge, known)
        estimate = model(x, time_, cond, slope).float()
        lr = cond.lr * 2 - 1 if batch.exact else None
        aim = None if batch.aim is None else batch.aim.to(device)
        terms = reconstruction_loss(estimate, target, keypoints, lr, settings.losses, encoder, generator, aim)
    accelerator.backward(terms["loss"])
    terms["norm"] = torch.as_tensor(accelerator.clip_grad_norm_(model.parameters(), settings.clip))
    for group in optimizer.param_groups:
        group["lr"] = settings.rate(step)
    # The norm is that of the averaged gradients, alike in all processes; a scaler (fp16) leaves bad steps out itself.
    if torch.isfinite(terms["norm"]) or accelerator.scaler is not None:
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return {name: float(value.detach()) for name, value in terms.items()}


@torch.no_grad()
def _on_its_own_path(
    denoiser: Denoiser, cond: Conditioning, noise: Tensor, time: Tensor, judge: Judge | None, identity: Tensor
) -> tuple[Tensor, Tensor | None]:
    """The pictures of these times on the way from the start to the network's own first estimate, and their slopes.

    Slopes are those towards ``identity``.

    The usual way leads to the true face, and from a start with little noise it gives the face away: the network learns
    to amplify fine detail that is not there when it samples. On its own way it learns what sampling asks of it: to
    better its last estimate (a roll-out of one step, as in PuLID, arXiv 2404.16022). The slope, too, is that of the
    last estimate.
    """
    start, start_noise = denoiser.start(cond), denoiser.config.start_noise
    x = noisy(start, start, noise, start_noise, torch.ones_like(time))
    slope = None if judge is None else judge.slope((start + 1) / 2, identity)
    later = time < 1
    if later.any():
        seen = None if slope is None else slope[later]
        first = denoiser(x[later], torch.ones_like(time[later]), cond.select(later), seen).float()
        x[later] = noisy(first, start[later], noise[later], start_noise, time[later])
        if judge is not None and slope is not None:
            slope[later] = judge.slope(((first + 1) / 2).clamp(0, 1), identity[later])
    return x, slope


def _average(ema: dict[str, Tensor], model: torch.nn.Module, decay: float) -> None:
    state = model.state_dict()
    with torch.no_grad():
        for name, value in ema.items():
            value.lerp_(state[name], 1 - decay)


def _one_thread(_worker: int) -> None:
    torch.set_num_threads(1)


def _plain(values: dict) -> dict:
    """As JSON gives it back."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


class _Log:
    """``log.csv``: one line a step. Continuing cuts off what was written after the checkpoint."""

    def __init__(self, path: Path, active: bool, first: int) -> None:
        self.path, self.active, self.began = path, active, time.monotonic()
        if not active:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_text().splitlines() if path.is_file() and first else []
        kept = [line for line in lines[1:] if int(line.split(",", 1)[0]) <= first]
        path.write_text("\n".join([*lines[:1], *kept, ""]) if lines else "")

    def write(self, step: int, terms: dict[str, float], images: int, scale: float) -> None:
        if not self.active:
            return
        row = {"step": step, "images": step * images, "scale": scale}
        row |= {name: round(value, 5) for name, value in terms.items()}
        row["seconds"] = round(time.monotonic() - self.began, 1)
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            if file.tell() == 0:
                writer.writeheader()
            writer.writerow(row)


def _draw_sheet(
    config: DenoiserConfig,
    ema: dict[str, Tensor],
    maker: BatchMaker,
    path: Path,
    device: torch.device,
    judge: Judge | None,
) -> None:
    """Eight faces of a fixed batch, restored in four steps by the averaged weights."""
    denoiser = Denoiser(config)
    denoiser.load_state_dict({name: value.cpu() for name, value in ema.items()})
    denoiser.to(device)
    batch = maker.make(10**9)
    cond: Conditioning = batch.cond.select(slice(0, 8))
    with torch.no_grad():
        runtime = Runtime(device=str(device))
        restored = sample(denoiser.eval(), cond.to(device), SamplingSettings(steps=4), runtime, judge).cpu()
    write_sheet(path, cond, restored, batch.target[:8])

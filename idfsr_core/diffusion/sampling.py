"""From conditions to a restored face."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import ArgumentError, ImageError
from ..runtime import Runtime
from .composite import make_consistent
from .conditioning import Conditioning
from .guidance import guided_estimate
from .schedule import SCHEDULERS, make_scheduler, velocity

if TYPE_CHECKING:
    from .denoiser import Denoiser
    from .judge import Judge


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """Everything that shapes the sampling of one face."""

    steps: int = 2  # forwards of the denoiser (times up to 3 with guidance), 1..1000
    style_guidance: float = 1.0  # 0..10; 1 is plain, other values cost one more forward a step
    identity_guidance: float = 1.0  # 0..10; the same
    consistency: float = 0.2  # 0..1, pull to the LR pixels at every step
    scheduler: str = "euler"  # of diffusers: euler, dpm++, unipc
    seed: int = 0  # of the starting noise
    same_noise: bool = False  # all faces of a batch start from the noise of the first; else each has its own

    def __post_init__(self) -> None:
        limits = {
            "steps": (1, 1000),
            "style_guidance": (0, 10),
            "identity_guidance": (0, 10),
            "consistency": (0, 1),
            "seed": (0, 2**64 - 1),
        }
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise ArgumentError(name, getattr(self, name), f"use a value from {low} to {high}")
        if self.scheduler not in SCHEDULERS:
            raise ArgumentError("scheduler", self.scheduler, f"use one of {', '.join(SCHEDULERS)}")

    def to_dict(self) -> dict:
        """Plain values for JSON."""
        return asdict(self)


def sample(
    denoiser: Denoiser,
    cond: Conditioning,
    settings: SamplingSettings | None = None,
    runtime: Runtime | None = None,
    judge: Judge | None = None,
) -> Tensor:
    """Restore a batch of faces.

    Args:
        denoiser: on the device of ``cond``.
        cond: conditions of B faces.
        settings: see :class:`SamplingSettings`.
        runtime: precision, progress (with a preview), cancelling; checked before each step.
        judge: tells a denoiser that wants to know how each picture on the way would be more like the person.

    Returns:
        [B, 3, S, S], float32, 0..1.

    Raises:
        ArgumentError: the conditions are of another size than the denoiser works at.
        Cancelled: the runtime said so.
        ImageError: the network gave numbers that are not finite (half precision overflows on some devices).
    """
    settings, runtime = settings or SamplingSettings(), runtime or Runtime()
    size = cond.mask.shape[-1]
    if size != denoiser.config.size:
        value = f"{size}x{size} pixels, but the model works at {denoiser.config.size}x{denoiser.config.size}"
        raise ArgumentError("face", value, "cut it out at the model's size, or use a model of the face's size")
    scheduler = make_scheduler(settings.scheduler, settings.steps)
    estimate = denoiser.start(cond)
    x = estimate + denoiser.config.start_noise * starting_noise(cond, settings.seed, settings.same_noise)
    asked = judge if judge and judge.leads and denoiser.config.slope and settings.identity_guidance else None
    times = [float(time) / scheduler.config.num_train_timesteps for time in scheduler.timesteps]
    for index, (timestep, time) in enumerate(zip(scheduler.timesteps, times, strict=True)):
        runtime.check()
        slope = asked.slope(((estimate + 1) / 2).clamp(0, 1), cond.identity) if asked else None
        with autocast(x.device, runtime):
            now = torch.full((x.shape[0],), time, device=x.device)
            estimate = guided_estimate(
                denoiser, x, now, cond, settings.style_guidance, settings.identity_guidance, slope
            )
        estimate = _consistent(estimate.float(), cond, settings.consistency)
        x = scheduler.step(velocity(x, estimate, time), timestep, x, return_dict=False)[0]
        runtime.progress(index + 1, settings.steps, ((estimate + 1) / 2).clamp(0, 1))
    if not torch.isfinite(estimate).all():
        raise ImageError("restored face", "numbers that are not finite", "compute with dtype float32 or bfloat16")
    return ((estimate + 1) / 2).clamp(0, 1)


def autocast(device: torch.device, runtime: Runtime) -> torch.autocast:
    """The one place where precision is lowered: the denoiser's own layers; pictures and schedules stay float32."""
    return torch.autocast(device.type, runtime.torch_dtype, enabled=runtime.dtype != "float32")


def starting_noise(cond: Conditioning, seed: int, same: bool = False) -> Tensor:
    """Unit noise like ``cond.style``, the same on every device.

    Face i of the batch draws from ``seed + i``, so a face can be restored alone or among others with the same result;
    with ``same`` all of them get the noise of face 0.
    """
    noise = [
        torch.randn(cond.style.shape[1:], generator=torch.Generator().manual_seed((seed + face) % 2**63))
        for face in range(1 if same else cond.style.shape[0])
    ]
    return torch.stack(noise).to(cond.style.device).expand(cond.style.shape[0], -1, -1, -1)


def _consistent(estimate: Tensor, cond: Conditioning, strength: float) -> Tensor:
    picture = make_consistent((estimate + 1) / 2, cond.lr, strength)
    return picture * 2 - 1

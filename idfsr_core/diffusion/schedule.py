"""The path from the start picture to the clean face, shared by training and sampling.

A straight line, as in flow matching (Lipman et al. 2023, arXiv 2210.02747): at time t the picture is
``x_t = (1 - t) * x0 + t * (start + start_noise * noise)``. With a zero start picture and unit noise this is the usual
generation from noise; with the composite as start it is a bridge from the composite to the face.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..errors import ArgumentError

SCHEDULERS = ("euler", "dpm++", "unipc")


def noisy(x0: Tensor, start: Tensor, noise: Tensor, start_noise: float, time: Tensor) -> Tensor:
    """The picture at a time. [B, 3, S, S] each, time [B] in 0..1."""
    t = time[:, None, None, None]
    return (1 - t) * x0 + t * (start + start_noise * noise)


def velocity(x: Tensor, x0: Tensor, time: float) -> Tensor:
    """The direction that diffusers' flow schedulers follow: d x_t / dt on the line through x and x0."""
    return (x - x0) / time


def make_scheduler(name: str, steps: int) -> Any:
    """A diffusers scheduler for the straight path, set to ``steps`` equal steps from time 1 to 0, one forward each."""
    if name not in SCHEDULERS:
        raise ArgumentError("scheduler", name, f"use one of {', '.join(SCHEDULERS)}")
    # diffusers takes seconds to import, and who only reads the options or draws a mask does not need it
    if name == "euler":
        from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler

        scheduler = FlowMatchEulerDiscreteScheduler()
        # Left to itself it would make its last step at time 1/1000, where nothing is left to estimate.
        scheduler.set_timesteps(sigmas=[1 - step / steps for step in range(steps)])
        return scheduler
    from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
    from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler

    kind = DPMSolverMultistepScheduler if name == "dpm++" else UniPCMultistepScheduler
    scheduler = kind(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=1.0)
    scheduler.set_timesteps(steps)
    return scheduler

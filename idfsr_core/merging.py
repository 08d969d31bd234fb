"""What a person's other photos agree on, laid into the photo that was chosen.

One photo shows a person once: with that light, that stubble, that angle of the brows. What all photos have in common is
the person; people recognise an average of photos better than any single one (Burton, Jenkins, Hancock and White 2005).
An average blurs where edges do not meet, so each photo is first bent onto the chosen one's landmarks and then, pixel by
pixel, registered with it by optical flow (Kroeger et al. 2016, arXiv 1603.03590), and only small differences count: a
large one is an edge that was missed, glasses, or hair. Values are ours; figures in docs/RESULTS.md, "Merging".
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from .diffusion.composite import high_band

LIGHT = 16  # pixels of the face's side: what is coarser is light, not detail, and is the chosen photo's
LARGEST = 0.1  # of the range 0..1: a difference of one photo counts up to here
SMOOTH = 3.0  # pixels of 128: standard deviation by which the flow is smoothed
PATCH = 12  # pixels of 128: side of the patches that are compared


def agreement(others: int) -> float:
    """How much the mean of so many other photos counts, 0..1: one agrees with nobody, two half as much as three."""
    return min(max(others - 1, 0) / 2, 1.0)


def agreed_detail(base: Tensor, others: Tensor, coverages: Tensor) -> Tensor:
    """By what the photos of a person differ, on average, from one of them, in the light of that one.

    Args:
        base: [3, S, S] in 0..1, the chosen photo, in whose light the others are seen.
        others: [K, 3, S, S] in 0..1, the other photos, bent onto the chosen one.
        coverages: [K, 1, S, S] in 0..1, where they have pixels.

    Returns:
        [3, S, S], in -LARGEST..LARGEST; zeros with K = 0.
    """
    if not len(others):
        return torch.zeros_like(base)
    light = base[None] - high_band(base[None], LIGHT)
    alike = (light + high_band(others, LIGHT) * coverages).clamp(0, 1)
    goal = _grey(base)
    found = [_registered(goal, torch.cat(each)) for each in zip(alike, coverages, strict=True)]
    registered = torch.stack(found).to(base)
    difference = (registered[:, :3] - base).clamp(-LARGEST, LARGEST)
    return (difference * registered[:, 3:].clamp(0, 1)).mean(0)


def _registered(goal: np.ndarray, picture: Tensor) -> Tensor:
    """A picture and its coverage, [4, S, S], moved to where the features of the goal [S, S] lie; on the CPU."""
    size = goal.shape[0]
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    search.setFinestScale(0)
    search.setPatchSize(PATCH * size // 128)
    search.setPatchStride(PATCH * size // 256)
    found = search.calc(goal, _grey(picture[:3]), None)  # pyright: ignore[reportCallIssue, reportArgumentType]
    flow = cv2.GaussianBlur(found, (0, 0), SMOOTH * size / 128)
    x, y = np.meshgrid(np.arange(size, dtype=np.float32), np.arange(size, dtype=np.float32))
    pixels = picture.detach().float().cpu().permute(1, 2, 0).numpy()
    moved = cv2.remap(pixels, x + flow[..., 0], y + flow[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return torch.from_numpy(moved).permute(2, 0, 1)


def _grey(picture: Tensor) -> np.ndarray:
    """[3, S, S] in 0..1 -> [S, S] uint8."""
    return (picture.detach().float().mean(0) * 255).round().clamp(0, 255).to(torch.uint8).cpu().numpy()

"""The last step: move the restored face a little towards the person, as an identity encoder sees both.

The denoiser learned how vectors and faces go together from a few thousand people, and knows a stranger's vector only
roughly. The encoder knows it better, and its gradient says which lightness of the skin, where, would make the face more
like the person. A few small steps along it are followed, with bounds that keep the picture natural: lightness only, on
a grid coarser than the pixels, inside the mask, each step so small that all of them together are hardly seen. Large
steps please this one encoder and nobody else, and the last ones are the smallest, so that the face comes to rest
instead of swinging about where it is going (docs/RESULTS.md, "Steering"). All values are ours.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..gradients import differentiable
from ..identity.aligning import jittered_keypoints
from ..runtime import Runtime
from .judge import CHUNK, Judge

CELLS = 48  # of the grid along the crop's side, whatever its size: 2.7 pixels of 128 each
STEP = 0.0011  # root mean square of the mean step's change over a face's cells, pictures being 0..1
FALL = 0.75  # of the mean step: by so much the first one of very many is longer, and the last one shorter
MOST = 2.5  # times a step's root mean square: largest change of one cell
JITTER = 1.5  # pixels of 128 by which the alignment is off at each step, so that no one alignment is pleased


def steer(
    faces: Tensor, mask: Tensor, identity: Tensor, judge: Judge, steps: int, runtime: Runtime | None = None
) -> Tensor:
    """Move faces towards their identity vectors.

    Works inside ``torch.inference_mode()`` too, and gives equal results for a face alone and among others.

    Args:
        faces: [B, 3, S, S], 0..1, as the denoiser gave them.
        mask: [B, 1, S, S], 0..1, where they may change.
        identity: [B, D]; of any length, all zero: this face stays as it is.
        judge: made the vectors.
        steps: 0 changes nothing.
        runtime: checked before each step.

    Returns:
        [B, 3, S, S], 0..1; changed by at most ``steps * STEP`` on average.
    """
    runtime = runtime or Runtime()
    known = identity.norm(dim=1) > 0
    if steps < 1 or not bool(known.any()):
        return faces
    with differentiable(getattr(judge.encoder, "network", None)):
        # Clones: what was made in inference mode takes part in no gradient.
        face, place, aim = (each[known].detach().clone().split(CHUNK) for each in (faces, mask, identity))
        parts = [_steer(*part, judge, steps, runtime) for part in zip(face, place, aim, strict=True)]
    result = faces.clone()
    result[known] = torch.cat(parts).to(faces)
    return result


def _steer(faces: Tensor, mask: Tensor, identity: Tensor, judge: Judge, steps: int, runtime: Runtime) -> Tensor:
    aim = F.normalize(identity.float())
    keypoints = judge.find(faces).detach().clone().to(faces)
    change = torch.zeros(len(faces), 1, CELLS, CELLS, device=faces.device, requires_grad=True)
    generator = torch.Generator()
    for step, length in enumerate(_lengths(steps)):
        runtime.check()
        # Every face sees the jitter of the first: a face comes out the same alone and among others.
        points = jittered_keypoints(keypoints, generator.manual_seed(step), JITTER * faces.shape[-1] / 128, same=True)
        seen = judge.encoder.embed(_changed(faces, mask, change), points).vectors
        (slope,) = torch.autograd.grad((seen.float() * aim).sum(), change)
        change = (change + length * _even(slope)).detach().requires_grad_(True)
    return _changed(faces, mask, change).detach()


def _lengths(steps: int) -> list[float]:
    """Of each step, root mean square; their mean is STEP."""
    return [STEP * (1 + FALL * (1 - 2 * (step + 0.5) / steps)) for step in range(steps)]


def _even(slope: Tensor) -> Tensor:
    """Slopes [B, 1, h, w] brought to unit mean square in each face, peaks cut off; small slopes stay small."""
    size = slope.square().mean((1, 2, 3), keepdim=True).sqrt()
    return (slope / size.clamp_min(1e-12)).clamp(-MOST, MOST)


def _changed(faces: Tensor, mask: Tensor, change: Tensor) -> Tensor:
    fine = F.interpolate(change, size=faces.shape[-2:], mode="bicubic", align_corners=False)
    return (faces + fine * mask).clamp(0, 1)

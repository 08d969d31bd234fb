"""Many cropped faces through the denoiser: any scales, any number, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .diffusion.conditioning import Conditioning
from .diffusion.recovery import lr_from_crop
from .errors import ArgumentError
from .options import RestoreOptions
from .runtime import Runtime

if TYPE_CHECKING:
    from .diffusion.denoiser import Denoiser

CHUNK = {"cpu": 4}
"""Faces in one forward by kind of device: on a processor more of them only make an interrupt wait."""
LARGE_CHUNK = 32


@dataclass(frozen=True, kw_only=True, eq=False)
class FaceBatch:
    """Cropped faces and all that is known of them, S the side of the crops."""

    crops: Tensor  # [B, 3, S, S] in 0..1, each the bicubic enlargement of its real pixels
    masks: Tensor  # [B or 1, 1, S, S] in 0..1, what is forgotten
    lr_sizes: tuple[int | None, ...]  # B: side of the LR face in real pixels; None: no face, the crop is left as it is
    warped: Tensor  # [B, K, 3, S, S] references on the faces, the best first, which gives the style; K may be 0
    coverage: Tensor  # [B, K, 1, S, S] in 0..1

    def __post_init__(self) -> None:
        batch, _, size, _ = self.crops.shape
        places = self.warped.shape[1]
        expected = {
            "crops": (batch, 3, size, size),
            "masks": (self.masks.shape[0], 1, size, size),
            "warped": (batch, places, 3, size, size),
            "coverage": (batch, places, 1, size, size),
        }
        for name, shape in expected.items():
            if tuple(getattr(self, name).shape) != shape:
                raise ArgumentError(f"FaceBatch.{name}", tuple(getattr(self, name).shape), f"give shape {shape}")
        if self.masks.shape[0] not in (1, batch) or len(self.lr_sizes) != batch:
            counts = f"{self.masks.shape[0]} masks, {len(self.lr_sizes)} sizes"
            raise ArgumentError("FaceBatch", counts, f"give {batch} of each")

    def chunks(self, most: int) -> list[tuple[int, list[int]]]:
        """LR size and places in the batch of at most ``most`` faces of that size, the smallest faces first."""
        found = []
        for size in sorted({each for each in self.lr_sizes if each is not None}):
            places = [index for index, each in enumerate(self.lr_sizes) if each == size]
            found += [(size, places[start : start + most]) for start in range(0, len(places), most)]
        return found

    def conditioning(self, lr_size: int, places: Sequence[int], identity: Tensor, device: str) -> Conditioning:
        """What the denoiser sees of some faces of one LR size; the first reference is the style."""
        index = torch.tensor(places)
        crops, warped, coverage = (each[index].to(device) for each in (self.crops, self.warped, self.coverage))
        masks = self.masks.expand(len(self.crops), -1, -1, -1)[index].to(device)
        known = warped.shape[1] > 0
        return Conditioning(
            lr=lr_from_crop(crops, lr_size),
            mask=masks,
            style=warped[:, 0] if known else torch.zeros_like(crops),
            style_coverage=coverage[:, 0] if known else torch.zeros_like(masks),
            references=warped,
            reference_coverage=coverage,
            reference_valid=torch.ones(warped.shape[:2], dtype=torch.bool, device=device),
            identity=identity.to(masks).expand(len(places), -1),
        )


def restore_faces(
    denoiser: Denoiser,
    faces: FaceBatch,
    identity: Tensor,
    options: RestoreOptions | None = None,
    runtime: Runtime | None = None,
    chunk: int | None = None,
) -> Tensor:
    """Restore every face of a batch.

    All of them start from the same noise, so a face comes out the same alone and among others, and the frames of a
    film do not flicker.

    Args:
        denoiser: on the runtime's device.
        faces: see :class:`FaceBatch`; it may stay on the CPU.
        identity: [D], whom all of them show.
        options: what :func:`idfsr_core.steps.restore_crop` reads.
        runtime: progress is told over the whole batch, with the finished first face at last.
        chunk: faces in one forward; None: by the device.

    Returns:
        [B, 3, S, S] in 0..1 on the device of ``faces.crops``.
    """
    from .steps import restore_crop

    options, runtime = options or RestoreOptions(), runtime or Runtime()
    chunk = chunk or CHUNK.get(torch.device(runtime.device).type, LARGE_CHUNK)
    chunks, result = faces.chunks(chunk), faces.crops.float().clone()
    total = len(chunks) * options.steps
    for number, (lr_size, places) in enumerate(chunks):
        cond = faces.conditioning(lr_size, places, identity, runtime.device)
        told = replace(runtime, progress=_part(runtime, number * options.steps, total))
        result[torch.tensor(places)] = restore_crop(denoiser, cond, options, told, same_noise=True).to(result)
    if chunks:
        runtime.progress(total, total, result[:1])
    return result


def _part(runtime: Runtime, before: int, total: int):
    """Progress of one chunk as that of the whole batch."""

    def progress(done: int, _: int, image: Tensor | None = None) -> None:
        runtime.progress(before + done, total, image)

    return progress

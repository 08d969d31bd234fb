"""Many cropped faces through the denoiser: any scales, any number, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from .diffusion.conditioning import Conditioning
from .diffusion.recovery import lr_from_crop
from .errors import ArgumentError
from .identity.glimpse import glimpsed
from .options import RestoreOptions
from .runtime import Runtime
from .steps import doubts_of_scale, lr_size, restore_crop

if TYPE_CHECKING:
    from .diffusion.denoiser import Denoiser
    from .diffusion.judge import Judge
    from .geometry import Alignment
    from .identity.embedding import IdentityEmbedding
    from .identity.encoders import IdentityEncoder

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
        """What the denoiser sees of some faces of one LR size; the first reference is the style.

        Args:
            lr_size: side of those LR faces.
            places: of the n faces in the batch.
            identity: [D], or [n, D] for each face its own.
            device: of the result.
        """
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


def gather(
    crops: Tensor,
    alignments: Sequence[Alignment | None],
    scales: Sequence[float],
    masks: Tensor,
    warped: Tensor | None = None,
    coverage: Tensor | None = None,
    *,
    size: int = 128,
) -> tuple[FaceBatch, tuple[str, ...]]:
    """What flowed through a graph as one batch, checked.

    Args:
        crops: [B, 3, S, S], 0..1.
        alignments, scales: of the crops, as :func:`idfsr_core.frames.crop_faces` gives them.
        masks: [B or 1, 1, h, w], 0..1; another size is resized.
        warped: [B * K, 3, S, S], the references of one face after those of the other; None: none.
        coverage: [B * K, 1, S, S], 0..1; None: the references have pixels everywhere.
        size: side S that the model works at.

    Returns:
        The batch, and what was resized.

    Raises:
        ArgumentError: counts or sizes that do not fit together.
    """
    _check_counts(crops, len(alignments), masks, size)
    places = [None if each is None else lr_size(each, scale) for each, scale in zip(alignments, scales, strict=True)]
    notes = ()
    if masks.shape[-2:] != (size, size):
        notes = (f"mask resized from {masks.shape[-1]}x{masks.shape[-2]} to {size}x{size} pixels",)
        masks = F.interpolate(masks, (size, size), mode="bilinear", antialias=True)
    references, covered = _references(crops, warped, coverage)
    batch = FaceBatch(crops=crops, masks=masks, lr_sizes=tuple(places), warped=references, coverage=covered)
    return batch, notes


def _check_counts(crops: Tensor, count: int, masks: Tensor, size: int) -> None:
    if len(crops) != count:
        remedy = "connect the alignment that came with these crops"
        raise ArgumentError("alignment", f"of {count} pictures, but there are {len(crops)} crops", remedy)
    if crops.shape[-2:] != (size, size):
        value = f"{crops.shape[-1]}x{crops.shape[-2]} pixels, but the model works at {size}x{size}"
        remedy = "connect what Crop Face gave, enlarged after restoring, not before"
        if crops.shape[-1] != size and crops.shape[-1] == crops.shape[-2] < size:
            remedy = "connect this model to the Load Face Analyzer that finds the faces: it tells Crop Face their size"
        raise ArgumentError("crop", value, remedy)
    if len(masks) not in (1, count):
        raise ArgumentError("mask", f"{len(masks)} masks for {count} crops", "connect one for all, or one for each")
    if masks.shape[-1] != masks.shape[-2]:
        value = f"{masks.shape[-1]}x{masks.shape[-2]} pixels, and the crop is square"
        raise ArgumentError("mask", value, "connect it to Mask Face, which cuts out its part over the face")


def _references(crops: Tensor, warped: Tensor | None, coverage: Tensor | None) -> tuple[Tensor, Tensor]:
    """Warped references [B, K, 3, S, S] and their coverage [B, K, 1, S, S]."""
    batch, _, size, _ = crops.shape
    if warped is None:
        if coverage is not None:
            raise ArgumentError("coverage", "connected without warped", "connect both outputs of Warp Reference")
        return crops.new_zeros(batch, 0, 3, size, size), crops.new_zeros(batch, 0, 1, size, size)
    if len(warped) % batch:
        value = f"{len(warped)} pictures for {batch} crops, not the same number for each"
        raise ArgumentError("warped", value, "connect what Warp Reference gave for these faces")
    if warped.shape[-2:] != (size, size):
        value = f"{warped.shape[-1]}x{warped.shape[-2]} pixels, but the crops are {size}x{size}"
        raise ArgumentError("warped", value, "connect what Warp Reference gave for these faces")
    if coverage is None:
        coverage = torch.ones_like(warped[:, :1])
    if coverage.shape != (len(warped), 1, size, size):
        told = f"{len(coverage)} masks of {coverage.shape[-1]}x{coverage.shape[-2]} pixels"
        value = f"{told} for {len(warped)} warped pictures of {size}x{size}"
        raise ArgumentError("coverage", value, "connect the coverage that came with the warped references")
    return warped.unflatten(0, (batch, -1)), coverage.unflatten(0, (batch, -1))


def describe(faces: FaceBatch) -> list[str]:
    """What was known of each face, a sentence a picture."""
    told = []
    for size in faces.lr_sizes:
        if size is None:
            told.append("no face: left as it was")
            continue
        scale = faces.crops.shape[-1] / size
        told.append("; ".join([f"crop of {size}x{size} real pixels, scale {scale:.1f}", *doubts_of_scale(scale)]))
    return told


def restore_faces(
    denoiser: Denoiser,
    faces: FaceBatch,
    identity: IdentityEmbedding,
    options: RestoreOptions | None = None,
    runtime: Runtime | None = None,
    chunk: int | None = None,
    judge: Judge | None = None,
    encoder: IdentityEncoder | None = None,
) -> Tensor:
    """Restore every face of a batch.

    All of them start from the same noise, so a face comes out the same alone and among others, and the frames of a
    film do not flicker.

    Args:
        denoiser: on the runtime's device.
        faces: see :class:`FaceBatch`; it may stay on the CPU.
        identity: whom all of them show.
        options: ``glimpse``, and what :func:`idfsr_core.steps.restore_crop` reads.
        runtime: progress is told over the whole batch, with the finished first face at last.
        chunk: faces in one forward; None: by the device.
        judge: by whom the results are steered; None: nothing is.
        encoder: made the identity, and looks at the small faces; None: nobody does.

    Returns:
        [B, 3, S, S] in 0..1 on the device of ``faces.crops``.
    """
    options, runtime = options or RestoreOptions(), runtime or Runtime()
    chunk = chunk or CHUNK.get(torch.device(runtime.device).type, LARGE_CHUNK)
    chunks, result = faces.chunks(chunk), faces.crops.float().clone()
    total = len(chunks) * options.steps
    for number, (side, places) in enumerate(chunks):
        seen = glimpsed(identity, faces.crops[torch.tensor(places)], side, encoder, options.glimpse)
        cond = faces.conditioning(side, places, seen, runtime.device)
        told = replace(runtime, progress=_part(runtime, number * options.steps, total))
        restored = restore_crop(denoiser, cond, options, told, judge=judge, same_noise=True)
        result[torch.tensor(places)] = restored.to(result)
    if chunks:
        runtime.progress(total, total, result[:1])
    return result


def _part(runtime: Runtime, before: int, total: int):
    """Progress of one chunk as that of the whole batch."""

    def progress(done: int, _: int, image: Tensor | None = None) -> None:
        runtime.progress(before + done, total, image)

    return progress

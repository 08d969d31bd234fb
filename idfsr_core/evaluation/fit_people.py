"""Fitted identities for the people of a run, one file each, so that a stop loses one fit at most."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..fitting import FittingSettings, fit_identity
from ..identity.embedding import IdentityEmbedding
from ..runtime import Runtime
from .results import make_folder, read_json, write_json
from .situations import Known

if TYPE_CHECKING:
    from ..diffusion.denoiser import Denoiser
    from ..identity.encoders import IdentityEncoder


def fit_people(
    denoiser: Denoiser,
    encoder: IdentityEncoder,
    people: Sequence[Known],
    folder: Path,
    settings: FittingSettings,
    runtime: Runtime,
    say: Callable[[str], None] = print,
) -> tuple[list[IdentityEmbedding], list[dict[str, Any]]]:
    """Fit every person's identity to their photos, or read what an earlier run fitted.

    Args:
        people: the photos and the pooled identity that each fit starts from.
        folder: where the fitted identities and their curves lie, ``NN.safetensors`` and ``NN.json``; a folder per
            bundle and settings.

    Returns:
        The identities, and of each the curve, the seconds, the steps done and the best step.
    """
    make_folder(folder)
    found, curves = [], []
    for number, known in enumerate(people):
        runtime.check()
        path, notes = folder / f"{number:03d}.safetensors", folder / f"{number:03d}.json"
        if not (path.is_file() and notes.is_file()):
            start = time.perf_counter()
            result = fit_identity(denoiser, encoder, known.identity, known.photos, settings, runtime)
            seconds = time.perf_counter() - start
            curve = [[point.step, point.loss, point.similarity] for point in result.curve]
            told = {"curve": curve, "seconds": seconds, "steps": result.steps, "best_step": result.best_step}
            result.identity.save(path)
            write_json(notes, told)
            say(f"person {number}: fitted in {result.steps} steps, {seconds:.0f} s, best at {result.best_step}")
        found.append(IdentityEmbedding.load(path))
        curves.append(read_json(notes))
    return found, curves

"""From what trainings leave behind to one bundle."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import nn

from ..bundle import FORMAT, ModelCard, load_bundle, save_bundle
from ..diffusion.config import DenoiserConfig
from ..diffusion.denoiser import Denoiser
from ..errors import FileFormatError
from .checkpoint import latest_checkpoint

KINDS = "a bundle, a denoiser's run folder, encoder-training.safetensors or analyzer.safetensors"


def export_bundle(path: str | Path, sources: Sequence[str | Path], card: ModelCard | None = None) -> Path:
    """Put trained networks into one bundle; where two sources hold the same part, the later one gives it.

    Args:
        path: the bundle to write.
        sources: bundles (whole or with some parts), folders of denoiser runs (the averaged weights of the newest
            checkpoint are taken), checkpoints of an encoder's training, analyzers.
        card: the model card; what the sources' cards say is kept where it says nothing. Without a card, or with one
            that says nothing of it, the licence is research only, as that of the shipped networks.

    Raises:
        FileFormatError: a source is none of these, or damaged.
    """
    networks: dict[str, nn.Module] = {}
    joined = ModelCard()
    for source in map(Path, sources):
        found, about = read_trained(source)
        networks |= found
        joined = _join(joined, about)
    if card:
        joined = replace(_join(joined, card), licence=card.licence)
    return save_bundle(path, networks, joined)


def read_trained(source: Path) -> tuple[dict[str, nn.Module], ModelCard]:
    """The networks of one source by part, and what is known of their training."""
    if source.is_dir():
        return _denoiser(source)
    try:
        with safe_open(source, "pt") as file:
            meta = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise FileFormatError(f"trained networks {source}", error, f"give {KINDS}") from error
    if meta.get("format") == FORMAT:
        bundle = load_bundle(source)
        return {part: bundle.network(part) for part in bundle.parts}, bundle.card
    if "analyzer" in meta:
        from .analyzer import load_analyzer

        return {"analyzer": load_analyzer(source).networks}, ModelCard()
    from .encoder import averaged_network, read_checkpoint

    network, told = averaged_network(source), read_checkpoint(source)[1]
    return {"encoder": network}, _about("encoder", told)


def _denoiser(folder: Path) -> tuple[dict[str, nn.Module], ModelCard]:
    """The averaged weights of a run's newest checkpoint, or of a checkpoint folder itself."""
    checkpoint = folder if (folder / "ema.safetensors").is_file() else latest_checkpoint(folder)
    if checkpoint is None:
        raise FileFormatError(f"run {folder}", "no checkpoint in it", f"give {KINDS}")
    try:
        info = json.loads((checkpoint / "info.json").read_text())
        denoiser = Denoiser(DenoiserConfig.from_dict(info["config"]))
        denoiser.load_state_dict(load_file(checkpoint / "ema.safetensors"))
    except (OSError, SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise FileFormatError(f"checkpoint {checkpoint}", reason, "take an older one, or train again") from error
    batch = info.get("batches", {}).get("batch")
    images = {"images": info["step"] * batch * info.get("processes", 1)} if batch else {}
    return {"denoiser": denoiser}, _about("denoiser", info | images)


def _about(part: str, told: dict[str, Any]) -> ModelCard:
    """The plain figures of a training: step, images, seconds, seed."""
    figures = {name: told[name] for name in ("step", "images", "seconds", "seed") if name in told}
    return ModelCard(training={part: figures})


def _join(first: ModelCard, second: ModelCard) -> ModelCard:
    """The second card's words where it has any; figures of both."""
    return replace(
        first,
        name=second.name or first.name,
        data=second.data or first.data,
        notes=second.notes or first.notes,
        created=second.created,
        training=first.training | second.training,
        metrics=first.metrics | second.metrics,
    )

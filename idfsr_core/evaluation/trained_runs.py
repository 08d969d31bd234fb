"""Trainings side by side: the denoisers of a folder of runs, each measured with one bundle's finder and encoder."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..bundle import Bundle, load_bundle, save_bundle
from ..errors import FileFormatError
from ..pretraining.checkpoint import latest_checkpoint
from ..pretraining.export import read_trained
from ..pretraining.recipes import read_recipe, recipe_names
from .study_report import ABOUT


@dataclass(frozen=True, kw_only=True)
class TrainedRun:
    """One training of a denoiser."""

    name: str  # of its folder or bundle; that of a recipe, where it was trained by one
    bundle: Bundle  # holds the denoiser alone
    images: int | None  # seen in training; None where nobody noted it
    about: str  # what the recipe says of itself

    def told(self) -> dict[str, Any]:
        """What a table says of it, plain values."""
        found = {"images seen": self.images, ABOUT: self.about}
        return {name: value for name, value in found.items() if value}


def read_runs(folder: Path, device: str = "cpu") -> list[TrainedRun]:
    """Every training in a folder: runs of ``pretrain denoiser``, checkpoints of one, and bundles; few images first.

    A run's newest checkpoint counts, with its averaged weights, rounded as a bundle stores them.

    Raises:
        FileFormatError: there is no such folder or no training in it, or one is damaged.
    """
    found = [path for path in sorted(folder.glob("*")) if _is_run(path)] if folder.is_dir() else []
    if not found:
        remedy = "name the folder that holds one folder per training, or bundles"
        raise FileFormatError(f"runs {folder}", "no training in it", remedy)
    runs = [_read(path, device) for path in found]
    return sorted(runs, key=lambda run: (run.images or 0, run.name))


def _is_run(path: Path) -> bool:
    if path.is_dir():
        return (path / "ema.safetensors").is_file() or latest_checkpoint(path) is not None
    return path.suffix == ".safetensors"


def _read(path: Path, device: str) -> TrainedRun:
    networks, card = read_trained(path)
    if "denoiser" not in networks:
        raise FileFormatError(f"run {path}", f"holds {', '.join(networks)}", "leave only denoisers in that folder")
    with tempfile.TemporaryDirectory() as folder:
        whole = save_bundle(Path(folder) / "run.safetensors", {"denoiser": networks["denoiser"]}, card)
        bundle = load_bundle(whole, device)
        _ = bundle.denoiser  # read while the file is there
    name = path.name if path.is_dir() else path.stem
    training = card.training.get("denoiser", card.training)
    about = read_recipe(name).about if name in recipe_names() else ""
    return TrainedRun(name=name, bundle=bundle, images=training.get("images"), about=about)

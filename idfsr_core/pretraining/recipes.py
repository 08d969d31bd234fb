"""How a denoiser is trained, as a file that is run by name: what differs from the defaults, and why it is there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from ..diffusion.config import DenoiserConfig
from ..errors import ArgumentError
from ..named_json import check_names, names_in, read_named
from .batches import BatchSettings
from .losses import LossSettings

CONFIGS = Path(__file__).parent / "configs"

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Training:
    """How long and how fast; see :class:`idfsr_core.pretraining.loop.PretrainSettings`."""

    steps: int = 4000
    learning_rate: float = 4e-4
    start_share: float = 0.8


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that decides what a training makes of given photos."""

    about: str = ""
    denoiser: DenoiserConfig = field(default_factory=DenoiserConfig)
    batches: BatchSettings = field(default_factory=BatchSettings)
    losses: LossSettings = field(default_factory=LossSettings)
    training: Training = field(default_factory=Training)


def recipe_names() -> list[str]:
    """The recipes that come with the package."""
    return names_in(CONFIGS)


def read_recipe(name: str | Path) -> Recipe:
    """A recipe by its name, or from a file of one's own.

    Args:
        name: one of :func:`recipe_names`, or the path of a JSON file with the parts "about", "denoiser", "batches",
            "losses" and "training", each of which may be left out, and in each the values that are not the default.

    Raises:
        FileFormatError: there is no such recipe, or it is no JSON, or it names a value that does not exist.
        ArgumentError: a value is out of its range.
    """
    what = f"recipe {name}"
    _, values = read_named("recipe", name, CONFIGS)
    check_names(what, values, _names(Recipe))
    return Recipe(
        about=values.get("about", ""),
        denoiser=_made(what, DenoiserConfig, values.get("denoiser", {})),
        batches=_made(what, BatchSettings, _whole_scales(values.get("batches", {}))),
        losses=_made(what, LossSettings, values.get("losses", {})),
        training=_made(what, Training, values.get("training", {})),
    )


def _made(what: str, kind: type[T], values: Mapping[str, Any]) -> T:
    check_names(f"{what}, {kind.__name__}", values, _names(kind))
    try:
        return kind(**values)
    except TypeError as error:
        raise ArgumentError(
            f"{what}, {kind.__name__}", dict(values), f"give values of the right kind ({error})"
        ) from error


def _names(kind: type[Any]) -> list[str]:
    return [each.name for each in fields(kind)]


def _whole_scales(values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has only strings for keys; scales are whole numbers."""
    if "scales" not in values:
        return dict(values)
    return {**values, "scales": {int(scale): share for scale, share in values["scales"].items()}}

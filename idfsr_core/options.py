"""Everything that affects a restoration, in one value that round-trips to JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from .errors import ArgumentError

SCHEDULERS = ("euler", "dpm++", "unipc")
MASK_MODES = ("auto", "hard", "soft")
WARP_METHODS = ("similarity", "affine", "tps", "piecewise")
COLOUR_METHODS = ("none", "lab", "wavelet")
SAMPLE_PEOPLE = ("anna", "ben", "clara")
FACE_CHOICES = ("like", "largest", "left")

_RANGES: dict[str, tuple[float, float]] = {
    "steps": (1, 1000),
    "steering": (0, 100),
    "seed": (0, 2**63 - 1),
    "style_guidance": (0, 10),
    "identity_guidance": (0, 10),
    "consistency": (0, 1),
    "mask_grow": (-0.5, 0.5),
    "mask_feather": (0, 0.5),
    "mask_forehead": (0, 2),
    "max_references": (1, 32),
    "likeness": (0, 10),
    "mirror": (0, 1),
    "merge": (0, 1),
    "glimpse": (0, 2),
    "scale": (1, 64),
    "enlarge": (1, 64),
    "paste_feather": (0, 0.5),
}
_WHOLE = ("steps", "steering", "seed", "max_references")
_CHOICES = {
    "scheduler": SCHEDULERS,
    "mask_mode": MASK_MODES,
    "warp_method": WARP_METHODS,
    "reference_warp": WARP_METHODS,
}


@dataclass(frozen=True, kw_only=True)
class RestoreOptions:
    """How one picture is restored. Equal options, pictures and weights on one device give the equal result.

    Raises:
        ArgumentError: a value out of its range, named with the range.
    """

    steps: int = 2
    """Denoising steps, 1 to 1000."""
    steering: int = 7
    """Small steps, 0 to 100, by which the result is moved towards the identity as the encoder sees it; 0 = none.
    The first ones are the longest. Towards the identity of a single photo 4 at most are done."""
    seed: int = 0
    """Seed of the sampler's noise."""
    style_guidance: float = 1.0
    """0 to 10; 1 = as trained, above 1 follows the warped reference more."""
    identity_guidance: float = 1.0
    """0 to 10; 1 = as trained, above 1 pushes towards the identity."""
    consistency: float = 0.2
    """0 to 1, how firmly the result is held to the pixels of the picture."""
    scheduler: str = "euler"
    """Which of diffusers' schedulers walks the steps: one of :data:`SCHEDULERS`."""
    mask_mode: str = "auto"
    """"hard" forgets the face (the paper), "soft" lets its pixels fade in at mild scales, "auto" by scale."""
    mask_grow: float = 0.08
    """Widens (or, negative, narrows) the mask, as a fraction of the crop's side, -0.5 to 0.5."""
    mask_feather: float = 0.08
    """Width of the mask's soft edge as a fraction of the crop's side, 0 to 0.5."""
    mask_forehead: float = 0.35
    """How far the mask reaches above the brows, as a fraction of the distance from chin to nose bridge, 0 to 2."""
    warp_method: str = "similarity"
    """How the best reference, the style, is brought onto the face: one of :data:`WARP_METHODS`."""
    reference_warp: str = "similarity"
    """How all references, which tell the denoiser who it is, are brought onto the face."""
    refine: bool = False
    """Shift, turn and scale the found landmarks a little, until the best reference fits the picture's own pixels."""
    max_references: int = 1
    """How many reference photos the denoiser sees, the best fitting first, 1 to 32."""
    likeness: float = 0.8
    """0 to 10: how much it counts, in the choice among the photos, that the composite looks like the person, against
    landmarks that fit (in eye distances); 0 = landmarks alone."""
    mirror: float = 0.08
    """0 to 1: by how many eye distances the mirror image of a photo has to fit better than the photo as it is before
    it is laid on, so that a person who looks to the other side is seen from the right one; 1 = never."""
    merge: float = 0.3
    """0 to 1: how much of what the other photos agree on is laid into the best one, so that it shows the person rather
    than one photo of them; 0 = the photo as it is."""
    glimpse: float = 1.0
    """0 to 2: how much the small picture's own look counts: beside the identity, the more, the better the encoder reads
    it, and in the choice among the photos, where likeness counts; 0 = not at all."""
    face: str | int = "like"
    """Which face: "like" the references, "largest", "left" or a number counted from the left, from 0."""
    box: tuple[float, float, float, float] | None = None
    """x0, y0, x1, y1 in pixels of the picture: the face is here, nothing is searched."""
    scale: float | None = None
    """1 to 64: crop pixels per real pixel, where the picture was enlarged before; None = from the face's size."""
    enlarge: float | None = None
    """1 to 64: how much the whole picture grows, so that the new detail has room; None = as far as the face gains."""
    paste_feather: float = 0.12
    """Width over which the crop fades into the picture, as a fraction of its side, 0 to 0.5."""

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if value is None and name in ("scale", "enlarge"):
                continue
            kind = int if name in _WHOLE else (int, float)
            if not isinstance(value, kind) or isinstance(value, bool) or not low <= value <= high:
                number = "a whole number" if name in _WHOLE else "a number"
                raise ArgumentError(name, value, f"use {number} from {low:g} to {high:g}")
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ArgumentError(name, getattr(self, name), f"use one of {', '.join(allowed)}")
        self._check_face()

    def _check_face(self) -> None:
        number = isinstance(self.face, int) and not isinstance(self.face, bool) and self.face >= 0
        if not number and self.face not in FACE_CHOICES:
            raise ArgumentError("face", self.face, f"use a number from 0 or one of {', '.join(FACE_CHOICES)}")
        if self.box is None:
            return
        if len(self.box) != 4 or not all(math.isfinite(value) for value in self.box):
            raise ArgumentError("box", self.box, "give four finite numbers x0 y0 x1 y1")
        object.__setattr__(self, "box", tuple(float(value) for value in self.box))

    def to_json(self) -> str:
        """The options as one JSON object."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> RestoreOptions:
        """The reverse of :meth:`to_json`; a field left out keeps its default, an unknown one raises."""
        try:
            values = json.loads(text)
        except ValueError as error:
            raise ArgumentError("options", f"no JSON ({error})", "give what RestoreOptions.to_json wrote") from error
        if not isinstance(values, dict):
            raise ArgumentError("options", type(values).__name__, "give a JSON object")
        return RestoreOptions.from_dict(values)

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> RestoreOptions:
        """From plain values, as JSON gives them (a box as a list)."""
        unknown = sorted(set(values) - {field.name for field in fields(RestoreOptions)})
        if unknown:
            raise ArgumentError("options", f"unknown {', '.join(unknown)}", "use the fields of RestoreOptions")
        box = values.get("box")
        return RestoreOptions(**{**values, "box": tuple(box) if box is not None else None})

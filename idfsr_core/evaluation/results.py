"""Figures of every face, in a form that goes to JSON and back: a failed face is a row as any other."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ArgumentError, FileFormatError, OutputError
from ..images import atomic_path

FORMAT = "idfsr-evaluation"
FORMAT_VERSION = 1
_DIGITS = 4


@dataclass(frozen=True, kw_only=True)
class ResultSet:
    """One method at one scale with one kind of landmarks: a column of figures per metric, a place per face."""

    method: str
    title: str
    scale: int  # 0 for ceilings, which know no scale
    landmarks: str  # "true", "found", or "" for ceilings
    cases: tuple[int, ...]  # numbers of the people
    failures: tuple[str | None, ...]  # what went wrong with a face; its figures count all the same
    figures: dict[str, tuple[float, ...]]  # nan where a figure does not exist
    of_set: dict[str, float] = field(default_factory=dict)  # figures of the whole set, such as a Fréchet distance
    seconds: float = math.nan  # per face, from LR picture to result

    def __post_init__(self) -> None:
        count = len(self.cases)
        if len(self.failures) != count or any(len(values) != count for values in self.figures.values()):
            lengths = {name: len(values) for name, values in self.figures.items()}
            value = f"{count} faces, {len(self.failures)} failure places, {lengths}"
            raise ArgumentError(f"results of {self.method}", value, "give one value per face; failed ones count too")

    @property
    def key(self) -> str:
        """A name for files."""
        return f"{self.method}-{self.scale}x-{self.landmarks}" if self.scale else self.method

    @property
    def failed(self) -> int:
        """How many faces something went wrong with."""
        return sum(failure is not None for failure in self.failures)

    def mean(self, name: str) -> tuple[float, float, int]:
        """Mean, standard error of the mean (deviation over the root of n) and n of a figure, over ALL faces.

        Only a figure that does not exist for a face (nan, such as the landmark error of a picture in which no landmark
        was read) is left out of its n.
        """
        values = np.array(self.figures.get(name, ()), float)
        values = values[~np.isnan(values)]
        if not len(values):
            return math.nan, math.nan, 0
        error = values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else math.nan
        return float(values.mean()), float(error), len(values)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; nan becomes null."""
        values = asdict(self)
        values["figures"] = {name: [_plain(v) for v in column] for name, column in self.figures.items()}
        values["of_set"] = {name: _plain(value) for name, value in self.of_set.items()}
        values["seconds"] = _plain(self.seconds)
        return values

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> ResultSet:
        """The inverse of :meth:`to_dict`."""
        figures = {name: tuple(_number(v) for v in column) for name, column in values["figures"].items()}
        of_set = {name: _number(value) for name, value in values["of_set"].items()}
        fixed = {
            "figures": figures,
            "of_set": of_set,
            "seconds": _number(values["seconds"]),
            "cases": tuple(values["cases"]),
            "failures": tuple(values["failures"]),
        }
        return ResultSet(**{**values, **fixed})


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else round(float(value), _DIGITS)


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A whole run: how it was made, and its sets."""

    about: dict[str, Any]  # command, settings, bundle, machine, what was left out
    sets: tuple[ResultSet, ...]

    def get(self, method: str, scale: int, landmarks: str) -> ResultSet | None:
        """The set of this method, None where it was not measured."""
        wanted = (method, scale, landmarks)
        return next((each for each in self.sets if (each.method, each.scale, each.landmarks) == wanted), None)

    def save(self, path: str | Path) -> None:
        """Write JSON, whole or not at all."""
        values = {"format": FORMAT, "version": FORMAT_VERSION, "about": self.about}
        write_json(path, {**values, "sets": [each.to_dict() for each in self.sets]})

    @staticmethod
    def load(path: str | Path) -> Evaluation:
        """Read what :meth:`save` wrote.

        Raises:
            FileFormatError: missing, damaged, or another kind of file.
        """
        values = read_json(path)
        if not isinstance(values, dict) or values.get("format") != FORMAT or values.get("version") != FORMAT_VERSION:
            raise FileFormatError(f"report {path}", "no evaluation report", "name a JSON file that `evaluate` wrote")
        try:
            return Evaluation(about=values["about"], sets=tuple(map(ResultSet.from_dict, values["sets"])))
        except (KeyError, TypeError, AttributeError) as error:
            raise FileFormatError(f"report {path}", f"damaged ({error!r})", "run `evaluate` again") from error


def write_json(path: str | Path, values: Any) -> None:
    """Write plain values as JSON, one list of numbers a line, whole or not at all."""
    text = json.dumps(values, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    text = text.replace('},{"method"', '},\n{"method"').replace('],"', '],\n"')
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_json(path: str | Path) -> Any:
    """Read a JSON file (FileFormatError where there is none, or no JSON in it)."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FileFormatError(f"report {path}", error, "name a JSON file that `evaluate` wrote") from error


def make_folder(path: Path) -> Path:
    """Make a folder for results (OutputError where that is not possible)."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"output folder {path}", error.strerror or error, "name a folder you may write") from error
    return path


def paired_gain(better: ResultSet, base: ResultSet, name: str) -> tuple[float, float, int]:
    """Mean gain of one set over another on the same faces, its standard error, and n."""
    if better.cases != base.cases:
        raise ArgumentError("result sets", f"{better.key} and {base.key}", "compare sets of the same faces")
    gain = np.array(better.figures[name]) - np.array(base.figures[name])
    return ResultSet(
        method="gain",
        title="",
        scale=better.scale,
        landmarks=better.landmarks,
        cases=better.cases,
        failures=(None,) * len(better.cases),
        figures={name: tuple(gain)},
    ).mean(name)


def share(values: Sequence[bool]) -> float:
    """The part of the values that is true, nan of none."""
    return float(np.mean(values)) if len(values) else math.nan

"""What one table compares, as a file that is run by name: the people, and what varies from row to row."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ..errors import ArgumentError, FileFormatError
from ..named_json import check_names, names_in, read_named
from ..options import RestoreOptions
from .methods import METHODS
from .protocol import EvaluationSettings

STUDIES = Path(__file__).parent / "studies"
ARCHIVES = ("faces", "london")
ALL_RUNS = "all"  # the value of "run" that stands for every training found
_OPTIONS = tuple(each.name for each in fields(RestoreOptions))
_SETTINGS = ("references", "draw", "displaced")  # of EvaluationSettings
_OTHERS = ("method", "fit_steps", "run")
VARIABLE = (*_OTHERS, *_SETTINGS, *_OPTIONS)
Values = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class StudyPlan:
    """All that decides a table, besides the weights and the seed."""

    name: str
    about: str = ""
    archive: str = "faces"  # whose photos: "faces", or "london" (two photos each; see idfsr_core.evaluation.london)
    people: int = 64  # at most
    least_photos: int = 0  # of a person; where rows differ in references, nobody who lacks the most of them takes part
    references: int = 4
    scales: tuple[int, ...] = (8, 16, 32)
    landmarks: tuple[str, ...] = ("true",)
    method: str = "pooled"
    options: dict[str, Any] = field(default_factory=dict)  # of RestoreOptions, for every row
    vary: dict[str, tuple] = field(default_factory=dict)  # a row for every combination of the values
    baseline: dict[str, Any] = field(default_factory=dict)  # the row that another is compared with has these values
    holds: dict[str, Any] = field(default_factory=dict)  # say how much of the baseline's identity this row has
    spread: bool = False  # how alike the rows' results of one person are takes the place of the rows

    def __post_init__(self) -> None:
        what = f"study {self.name}"
        _check_one_of(f"{what}, archive", [self.archive], ARCHIVES)
        _check_one_of(f"{what}, vary", self.vary, VARIABLE)
        for part in (self.baseline, self.holds):
            _check_one_of(f"{what}, baseline or holds", part, tuple(self.vary))
        for name, value in {**self.baseline, **self.holds}.items():
            if name != "run":
                _check_one_of(f"{what}, {name}", [value], self.vary[name])
        for values in self.rows(runs=("any",)):
            _check_one_of(f"{what}, method", [method_of(self, values)], tuple(METHODS))
            self.settings(values)

    @property
    def of_runs(self) -> bool:
        """Whether trainings are compared, which a command names by ``--runs``."""
        return "run" in self.vary

    def rows(self, runs: Sequence[str] = ()) -> list[dict[str, Any]]:
        """Every combination of the varied values, the last one changing fastest; ``runs``: names of trainings."""
        columns = [tuple(runs) if name == "run" else values for name, values in self.vary.items()]
        return [dict(zip(self.vary, row, strict=True)) for row in itertools.product(*columns)]

    def settings(self, values: Values, base: EvaluationSettings | None = None) -> EvaluationSettings:
        """The protocol of one row.

        Args:
            values: the row, see :meth:`rows`.
            base: seed, batch, degradation, encoders and other options.
        """
        base = base or EvaluationSettings()
        options = {name: value for name, value in values.items() if name in _OPTIONS}
        told = {name: value for name, value in values.items() if name in _SETTINGS}
        references = told.pop("references", self.references)
        return replace(
            base,
            people=self.people,
            references=references,
            fit_photos=references,
            least=self.most_references,
            scales=self.scales,
            landmarks=self.landmarks,
            methods=(method_of(self, values),),
            options=replace(base.options, **{**self.options, **options}),
            **told,
        )

    @property
    def most_references(self) -> int:
        """Photos beside the target that everybody has who takes part."""
        return max(self.least_photos - 1, self.references, *self.vary.get("references", (0,)))


def method_of(plan: StudyPlan, values: Values) -> str:
    """The name of a row's method; so many steps of fitting make "fitted" of it."""
    return values.get("method", "fitted" if values.get("fit_steps") else plan.method)


def baseline_of(plan: StudyPlan, rows: Sequence[Values]) -> list[int]:
    """The place of each row's baseline: the same row with the baseline's values.

    "The same row" keeps what the baseline does not name, so a grid can be compared along one of its sides. Where the
    plan names no baseline, or one that is not there, such as a training of another name, the first row's values count.
    """
    named: dict[str, Any] = plan.baseline or dict(rows[0])
    if not all(any(row[name] == value for row in rows) for name, value in named.items()):
        named = {name: rows[0][name] for name in named}
    return [rows.index({**row, **named}) for row in rows]


def study_names() -> list[str]:
    """The studies that come with the package."""
    return names_in(STUDIES)


def read_study(name: str | Path) -> StudyPlan:
    """A study by its name, or from a file of one's own.

    Args:
        name: one of :func:`study_names`, or the path of a JSON file with the fields of :class:`StudyPlan`, of which all
            but "vary" may be left out.

    Raises:
        FileFormatError: there is no such study, or it is no JSON, or it names a field that does not exist.
        ArgumentError: a value is out of its range.
    """
    what = f"study {name}"
    path, values = read_named("study", name, STUDIES)
    check_names(what, values, [each.name for each in fields(StudyPlan) if each.name != "name"])
    vary = _varied(what, values.get("vary"))
    try:
        lists = {each: tuple(values[each]) for each in ("scales", "landmarks") if each in values}
        return StudyPlan(**{**values, **lists, "name": path.stem, "vary": vary})
    except TypeError as error:
        raise ArgumentError(what, values, f"give values of the right kind ({error})") from error


def _varied(what: str, vary: object) -> dict[str, tuple]:
    """The lists of values by name; all runs are found later."""
    if not isinstance(vary, dict) or not vary:
        raise FileFormatError(f"{what}, vary", vary, 'name what varies, such as {"steps": [1, 4]}')
    for name, values in vary.items():
        if name == "run" and values == ALL_RUNS:
            continue
        if not isinstance(values, list) or not values or name == "run":
            raise FileFormatError(f"{what}, vary {name}", values, f'give a list of values; for run "{ALL_RUNS}"')
    return {name: tuple(values) if name != "run" else (ALL_RUNS,) for name, values in vary.items()}


def _check_one_of(what: str, names: Any, allowed: Sequence[Any]) -> None:
    for name in names:
        if name not in allowed:
            raise ArgumentError(what, name, f"use some of {', '.join(map(str, allowed))}")

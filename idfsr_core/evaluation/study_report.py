"""A study's figures in a file, every face's, and the one table made from it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import FileFormatError
from .report import cell, encoders_of, head_lines, line, marked, number
from .results import ResultSet, paired_gain, read_json, share, write_json

STUDY_FORMAT = "idfsr-study"
STUDY_VERSION = 1
ABOUT = "about"  # what is told of a training in words, below the table
_LANDMARKS = ("found", "true")  # the honest figure first


@dataclass(frozen=True, kw_only=True)
class StudyRow:
    """One combination of the varied values, at every scale and with every kind of landmarks."""

    values: dict[str, Any]  # what varies
    baseline: int  # place of the row it is compared with; its own where it is the baseline
    sets: tuple[ResultSet, ...]
    told: dict[str, Any] = field(default_factory=dict)  # further columns, such as images seen in training

    def get(self, scale: int, landmarks: str) -> ResultSet | None:
        """The set at this scale with these landmarks."""
        wanted = (scale, landmarks)
        return next((each for each in self.sets if (each.scale, each.landmarks) == wanted), None)


@dataclass(frozen=True, kw_only=True)
class StudyReport:
    """What `evaluate study` leaves behind."""

    about: dict[str, Any]  # command, bundle, date, people, seed, options
    rows: tuple[StudyRow, ...]
    spread: tuple[ResultSet, ...] = ()  # of idfsr_core.evaluation.spread, where the study asks for it
    holds: dict[str, Any] = field(default_factory=dict)  # values of the row of which the text says what it holds

    def save(self, path: str | Path) -> None:
        """Write JSON, whole or not at all."""
        rows = [
            {"values": row.values, "baseline": row.baseline, "told": row.told, "sets": _plain(row.sets)}
            for row in self.rows
        ]
        values = {"format": STUDY_FORMAT, "version": STUDY_VERSION, "about": self.about, "holds": self.holds}
        write_json(path, {**values, "rows": rows, "spread": _plain(self.spread)})

    @staticmethod
    def load(path: str | Path) -> StudyReport:
        """Read what :meth:`save` wrote.

        Raises:
            FileFormatError: missing, damaged, or another kind of file.
        """
        values = read_json(path)
        kind = (values.get("format"), values.get("version")) if isinstance(values, dict) else None
        if kind != (STUDY_FORMAT, STUDY_VERSION):
            raise FileFormatError(f"study {path}", "no study's figures", "name a file that `evaluate study` wrote")
        try:
            rows = tuple(StudyRow(**{**row, "sets": _sets(row["sets"])}) for row in values["rows"])
            _check_baselines(rows)
            return StudyReport(about=values["about"], rows=rows, spread=_sets(values["spread"]), holds=values["holds"])
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise FileFormatError(f"study {path}", f"damaged ({error!r})", "run `evaluate study` again") from error

    @property
    def blocks(self) -> list[tuple[str, int]]:
        """Kinds of landmarks and scales, in the order of the table."""
        found = {(each.landmarks, each.scale) for row in self.rows for each in row.sets}
        return sorted(found, key=lambda block: (_LANDMARKS.index(block[0]), block[1]))

    @property
    def encoders(self) -> list[str]:
        """Names of the encoders that measured; the first one counts."""
        return encoders_of([each for row in self.rows for each in row.sets])


def _plain(sets: Sequence[ResultSet]) -> list[dict[str, Any]]:
    return [each.to_dict() for each in sets]


def _sets(values: list[dict[str, Any]]) -> tuple[ResultSet, ...]:
    return tuple(map(ResultSet.from_dict, values))


def _check_baselines(rows: Sequence[StudyRow]) -> None:
    for row in rows:
        _ = rows[row.baseline]


def study_markdown(report: StudyReport) -> str:
    """How the figures came about, the table, and what its words mean."""
    table = _spread_table(report) if report.spread else _table(report)
    legend = _SPREAD_LEGEND if report.spread else _LEGEND
    return (
        "\n".join([*head_lines(report.about), *table, "", *_holds(report), *_words_of(report), *legend.splitlines()])
        + "\n"
    )


def _table(report: StudyReport) -> Iterator[str]:
    """A row for every combination, those of one scale and kind of landmarks together."""
    main, *others = report.encoders
    borrowed = any(f"other.{main}" in each.figures for row in report.rows for each in row.sets)
    misplaced = any(each.mean("found_error")[0] > 1e-3 for row in report.rows for each in row.sets)
    varied, told = list(report.rows[0].values), _told(report)
    yield line(
        [
            *(_words(name) for name in (*varied, *told)),
            *("scale", "landmarks", "n", f"identity, {marked(main)}", "difference"),
            *(f"identity, {marked(name)}" for name in others[:1]),
            *(["to the other person", "closer to them"] if borrowed else []),
            *("LR-PSNR, dB", "landmark error", *(["landmarks off by"] if misplaced else []), "failed", "s per face"),
        ]
    )
    yield line(["---"] * (len(varied) + len(told) + 9 + len(others[:1]) + 2 * borrowed + misplaced))
    for landmarks, scale in report.blocks:
        for row in report.rows:
            each = row.get(scale, landmarks)
            if each is None:
                continue
            yield line(
                [
                    *(_value(row, name, each) for name in varied),
                    *(_written(row.told.get(name)) for name in told),
                    *(f"{scale}x", landmarks, str(each.mean(f"identity.{main}")[2])),
                    cell(each, f"identity.{main}", 3, True),
                    _difference(report, row, each, main),
                    *(cell(each, f"identity.{name}", 3, False) for name in others[:1]),
                    *(_to_the_other(each, main) if borrowed else []),
                    *(cell(each, "lr_psnr", 1, False), cell(each, "landmark_error", 3, False)),
                    *([cell(each, "found_error", 3, False)] if misplaced else []),
                    *(str(each.failed), number(each.seconds, 2)),
                ]
            )


def _told(report: StudyReport) -> list[str]:
    """Names of the further columns."""
    return list(dict.fromkeys(name for row in report.rows for name in row.told if name != ABOUT))


def _words(name: str) -> str:
    return name.replace("_", " ")


def _value(row: StudyRow, name: str, each: ResultSet) -> str:
    return each.title if name == "method" else _written(row.values[name])


def _written(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "–" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def _difference(report: StudyReport, row: StudyRow, each: ResultSet, encoder: str) -> str:
    """To the baseline, person by person."""
    base = report.rows[row.baseline]
    other = base.get(each.scale, each.landmarks)
    if base is row or other is None:
        return "–"
    mean, error, _ = paired_gain(each, other, f"identity.{encoder}")
    return f"{mean:+.3f} ± {number(error, 3)}"


def _to_the_other(each: ResultSet, encoder: str) -> list[str]:
    own, other = each.figures[f"identity.{encoder}"], each.figures.get(f"other.{encoder}")
    if other is None:
        return ["–", "–"]
    closer = share([b > a for a, b in zip(own, other, strict=True)])
    return [cell(each, f"other.{encoder}", 3, False), f"{closer:.0%}"]


def _holds(report: StudyReport) -> Iterator[str]:
    """What part of its baseline's identity a row has."""
    row = next((row for row in report.rows if report.holds and row.values == row.values | report.holds), None)
    if row is None:
        return
    base, name = report.rows[row.baseline], f"identity.{report.encoders[0]}"
    for each in row.sets:
        other = base.get(each.scale, each.landmarks)
        if other is not None:
            part = each.mean(name)[0] / other.mean(name)[0]
            words = f"{_named(row)} holds {part:.1%} of the identity of {_named(base)}"
            yield f"{each.scale}x, landmarks {each.landmarks}: {words}."
    yield ""


def _words_of(report: StudyReport) -> Iterator[str]:
    """What the trainings say of themselves, each once."""
    said = dict.fromkeys((row.values.get("run"), row.told[ABOUT]) for row in report.rows if ABOUT in row.told)
    yield from (f"- {name}: {words}" for name, words in said)
    if said:
        yield ""


def _named(row: StudyRow) -> str:
    return ", ".join(f"{_words(name)} {_written(value)}" for name, value in row.values.items())


def _spread_table(report: StudyReport) -> Iterator[str]:
    """A row per scale and kind of landmarks: how alike the results of one person are."""
    encoders = report.encoders[:2]
    heads = [f"among themselves, {marked(name)}" for name in encoders]
    truth = [f"identity, {marked(name)}" for name in encoders]
    yield line(["scale", "landmarks", "n", "results each", *heads, "least alike person", *truth, "failed"])
    yield line(["---"] * (6 + 2 * len(encoders)))
    for each in report.spread:
        alike = each.figures[f"spread.{encoders[0]}"]
        sets = [found for row in report.rows if (found := row.get(each.scale, each.landmarks))]
        means = [number(sum(s.mean(f"identity.{name}")[0] for s in sets) / len(sets), 3) for name in encoders]
        yield line(
            [
                *(f"{each.scale}x", each.landmarks, str(len(each.cases)), str(len(report.rows))),
                *(cell(each, f"spread.{name}", 3, True) for name in encoders),
                *(number(min(alike, default=math.nan), 3), *means, str(sum(s.failed for s in sets))),
            ]
        )


_LEGEND = """\
Means over all people, those of failures too; ± is the standard error of the mean. Difference: of the identity by the
first encoder to the baseline (–), person by person, with the standard error of that difference. Landmark error: of the
result's landmarks against the truth's, in eye distances. To the other person: similarity to the person whose identity
was borrowed, and the share of faces closer to them. † the encoder helped in training."""
_SPREAD_LEGEND = """\
Among themselves: similarity of every two results of a person, mean over the pairs and then over the people (± standard
error); identity: of the results with the truth, mean over all. † the encoder helped in training."""

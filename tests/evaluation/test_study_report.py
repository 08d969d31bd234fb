"""A study's file keeps every face, and its table compares person by person."""

import json
from pathlib import Path

import pytest

from idfsr_core.errors import FileFormatError
from idfsr_core.evaluation.results import ResultSet
from idfsr_core.evaluation.results_page import new_page, update_page
from idfsr_core.evaluation.study_report import StudyReport, StudyRow, study_markdown


def _set(
    identity: tuple[float, ...], scale: int = 16, landmarks: str = "true", **figures: tuple[float, ...]
) -> ResultSet:
    count = len(identity)
    plain = {name: (value,) * count for name, value in (("lr_psnr", 31.0), ("landmark_error", 0.1))}
    columns = {"identity.mbf_y1": identity, "identity.edge_xs": (0.25,) * count, "found_error": (0.0,) * count}
    return ResultSet(
        method="pooled",
        title="ours",
        scale=scale,
        landmarks=landmarks,
        cases=tuple(range(count)),
        failures=("not found",) + (None,) * (count - 1),
        figures=columns | plain | {"other.mbf_y1" if name == "other" else name: v for name, v in figures.items()},
        seconds=0.5,
    )


def _report(**more) -> StudyReport:
    rows = (
        StudyRow(values={"steps": 1, "refine": False}, baseline=1, sets=(_set((0.5, 0.25, 0.75)),)),
        StudyRow(values={"steps": 50, "refine": False}, baseline=1, sets=(_set((0.25, 0.25, 0.25)),)),
    )
    return StudyReport(about={"command": "evaluate study forwards", "seed": 0}, rows=more.pop("rows", rows), **more)


def _lines(report: StudyReport) -> list[str]:
    return [line for line in study_markdown(report).splitlines() if line.startswith("|")]


def test_the_difference_is_taken_person_by_person():
    # gains .25, 0 and .5: mean .25, deviation .25, over the root of 3: .144
    lines = _lines(_report())
    heads = "| steps | refine | scale | landmarks | n | identity, mbf_y1 | difference | identity, edge_xs† |"
    assert lines[0].startswith(heads)
    assert lines[2] == (
        "| 1 | off | 16x | true | 3 | 0.500 ± 0.144 | +0.250 ± 0.144 | 0.250 | 31.0 | 0.100 | 1 | 0.50 |"
    )
    assert lines[3].startswith("| 50 | off | 16x | true | 3 | 0.250 ± 0.000 | – | 0.250 |")


def test_people_who_differ_among_themselves_do_not_blur_the_difference():
    rows = (
        StudyRow(values={"steps": 1}, baseline=0, sets=(_set((0.1, 0.5, 0.9)),)),
        StudyRow(values={"steps": 2}, baseline=0, sets=(_set((0.2, 0.6, 1.0)),)),
    )
    assert "| 0.600 ± 0.231 | +0.100 ± 0.000 |" in _lines(_report(rows=rows))[3]


def test_rows_of_one_scale_stand_together_the_found_landmarks_first():
    sets = (_set((0.5, 0.5)), _set((0.5, 0.5), scale=8), _set((0.5, 0.5), landmarks="found"))
    rows = tuple(StudyRow(values={"steps": steps}, baseline=0, sets=sets) for steps in (1, 4))
    shown = [tuple(line.split(" | ")[:3]) for line in _lines(_report(rows=rows))[2:]]
    expected = [("16x", "found"), ("16x", "found"), ("8x", "true"), ("8x", "true"), ("16x", "true"), ("16x", "true")]
    assert [row[1:] for row in shown] == expected
    assert [row[0] for row in shown] == ["| 1", "| 4"] * 3


def test_the_text_says_what_part_of_the_identity_a_row_holds():
    text = study_markdown(_report(holds={"steps": 1}))
    assert "16x, landmarks true: steps 1, refine off holds 200.0% of the identity of steps 50, refine off." in text


def test_another_persons_identity_has_columns_of_its_own():
    own, other = _set((0.5, 0.5)), _set((0.1, 0.3), other=(0.2, 0.2))
    rows = tuple(StudyRow(values={"method": str(n)}, baseline=0, sets=(each,)) for n, each in enumerate((own, other)))
    lines = _lines(_report(rows=rows))
    assert "to the other person | closer to them" in lines[0]
    assert "| – | – |" in lines[2]
    assert "| 0.200 | 50% |" in lines[3]
    assert len({line.count("|") for line in lines}) == 1


def test_displaced_landmarks_and_trainings_are_told():
    moved = _set((0.5, 0.5), found_error=(0.1, 0.3))
    told = {"images seen": 96000, "about": "As shipped."}
    row = StudyRow(values={"run": "compact"}, baseline=0, sets=(moved,), told=told)
    report = _report(rows=(row, row))
    lines = _lines(report)
    assert lines[0].startswith("| run | images seen | scale |")
    assert "landmarks off by" in lines[0]
    assert lines[2].startswith("| compact | 96,000 | 16x |")
    assert "| 0.200 | 1 | 0.50 |" in lines[2]
    assert study_markdown(report).count("- compact: As shipped.") == 1


def test_a_spread_takes_the_place_of_the_rows():
    alike = ResultSet(
        method="spread",
        title="",
        scale=16,
        landmarks="true",
        cases=(0, 1, 2),
        failures=(None,) * 3,
        figures={"spread.mbf_y1": (0.5, 0.75, 1.0), "spread.edge_xs": (0.5, 0.5, 0.5)},
    )
    lines = _lines(_report(spread=(alike,)))
    assert lines[2:] == ["| 16x | true | 3 | 2 | 0.750 ± 0.144 | 0.500 ± 0.000 | 0.500 | 0.375 | 0.250 | 2 |"]
    assert len({line.count("|") for line in lines}) == 1


def test_a_study_comes_back_from_its_file(tmp_path: Path):
    report = _report(holds={"steps": 1})
    report.save(tmp_path / "forwards.json")
    again = StudyReport.load(tmp_path / "forwards.json")
    assert study_markdown(again) == study_markdown(report)
    assert again.rows[0].sets[0].figures["identity.mbf_y1"] == (0.5, 0.25, 0.75)


def test_the_page_of_results_shows_it_as_one_table(tmp_path: Path):
    _report().save(tmp_path / "forwards.json")
    new_page(tmp_path / "RESULTS.md", ["forwards.json"])
    assert update_page(tmp_path / "RESULTS.md") == ["forwards.json"]
    text = (tmp_path / "RESULTS.md").read_text()
    assert "- command: evaluate study forwards" in text
    assert text.count("\n| --- ") == 1


@pytest.mark.parametrize(
    "change", [{"format": "idfsr-evaluation"}, {"version": 99}, {"rows": [{"values": {}}]}, {"rows": None}]
)
def test_a_damaged_or_foreign_file_is_refused(tmp_path: Path, change: dict):
    path = tmp_path / "forwards.json"
    _report().save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(FileFormatError, match="forwards"):
        StudyReport.load(path)

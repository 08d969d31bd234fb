"""A study's file says what its table compares, and says so when it cannot be measured."""

import json
from pathlib import Path

import pytest

from idfsr_core.errors import ArgumentError, FileFormatError
from idfsr_core.evaluation.protocol import EvaluationSettings
from idfsr_core.evaluation.study_plan import StudyPlan, baseline_of, method_of, read_study, study_names
from idfsr_core.options import RestoreOptions

ASKED_FOR = (
    "choice consistency curve fitting forwards glimpse guidance landmark-error london merge mirror one-photo"
    " recipes references refine schedulers spread steering vector"
)


def _written(folder: Path, **values: object) -> Path:
    path = folder / "mine.json"
    path.write_text(json.dumps(values))
    return path


def test_every_table_has_its_study():
    assert study_names() == ASKED_FOR.split()


@pytest.mark.parametrize("name", ASKED_FOR.split())
def test_the_studies_that_come_with_the_package_can_be_read(name: str):
    plan = read_study(name)
    rows = plan.rows(("compact", "half"))
    assert plan.about.endswith(".")
    assert len(rows) > 1
    assert len({json.dumps(row) for row in rows}) == len(rows)
    assert all(0 <= place < len(rows) for place in baseline_of(plan, rows))


def test_rows_are_all_combinations_and_the_last_value_changes_fastest():
    plan = StudyPlan(name="mine", vary={"steps": (1, 4), "style_guidance": (1.0, 2.0)})
    shown = [(row["steps"], row["style_guidance"]) for row in plan.rows()]
    assert shown == [(1, 1.0), (1, 2.0), (4, 1.0), (4, 2.0)]


def test_trainings_stand_where_all_runs_are_asked_for():
    plan = StudyPlan(name="mine", vary={"run": ("all",), "method": ("pooled", "no_identity")})
    assert [(row["run"], row["method"]) for row in plan.rows(("a", "b"))] == [
        ("a", "pooled"),
        ("a", "no_identity"),
        ("b", "pooled"),
        ("b", "no_identity"),
    ]


def test_a_row_shapes_the_protocol():
    plan = StudyPlan(name="mine", people=9, scales=(8,), options={"steps": 2}, vary={"references": (1, 6)})
    base = EvaluationSettings(seed=5, batch=3, options=RestoreOptions(steps=7, mask_grow=0.1))
    settings = plan.settings({"references": 1}, base)
    assert (settings.people, settings.scales, settings.seed, settings.batch) == (9, (8,), 5, 3)
    assert (settings.references, settings.fit_photos, settings.least) == (1, 1, 6)
    assert (settings.options.steps, settings.options.mask_grow) == (2, 0.1)
    assert settings.methods == ("pooled",)


def test_what_varies_goes_before_what_is_the_same():
    plan = StudyPlan(name="mine", options={"steps": 2}, vary={"steps": (1, 4)})
    assert plan.settings({"steps": 4}).options.steps == 4


def test_steps_of_a_fit_make_the_method_a_fitted_one():
    plan = StudyPlan(name="mine", vary={"fit_steps": (0, 30)})
    assert [method_of(plan, row) for row in plan.rows()] == ["pooled", "fitted"]


def test_a_baseline_keeps_what_it_does_not_name():
    plan = StudyPlan(name="mine", vary={"references": (1, 4), "fit_steps": (0, 30)}, baseline={"fit_steps": 0})
    assert baseline_of(plan, plan.rows()) == [0, 0, 2, 2]


def test_without_a_baseline_the_first_row_is_it():
    plan = StudyPlan(name="mine", vary={"steps": (1, 4), "likeness": (0.0, 0.4)})
    assert baseline_of(plan, plan.rows()) == [0, 0, 0, 0]


def test_a_training_that_is_not_there_gives_way_to_the_first():
    plan = StudyPlan(
        name="mine", vary={"run": ("all",), "method": ("pooled", "no_identity")}, baseline={"run": "compact"}
    )
    assert baseline_of(plan, plan.rows(("a", "compact"))) == [2, 3, 2, 3]
    assert baseline_of(plan, plan.rows(("a", "b"))) == [0, 1, 0, 1]


def test_a_file_of_ones_own_is_read(tmp_path: Path):
    plan = read_study(_written(tmp_path, vary={"steps": [1, 2]}, scales=[32], landmarks=["found"]))
    assert (plan.name, plan.scales, plan.landmarks, plan.people) == ("mine", (32,), ("found",), 64)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"vary": {"steps": [1]}, "peple": 3}, "peple"),
        ({}, "vary"),
        ({"vary": {}}, "vary"),
        ({"vary": {"steps": []}}, "steps"),
        ({"vary": {"steps": 4}}, "steps"),
        ({"vary": {"run": ["a"]}}, "run"),
    ],
)
def test_a_file_of_another_shape_is_refused(tmp_path: Path, values: dict, named: str):
    with pytest.raises(FileFormatError, match=named):
        read_study(_written(tmp_path, **values))


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"vary": {"stepz": [1]}}, "stepz"),
        ({"vary": {"steps": [0]}}, "steps"),
        ({"vary": {"steps": [1]}, "scales": [7]}, "scale"),
        ({"vary": {"steps": [1]}, "scales": 16}, "right kind"),
        ({"vary": {"steps": [1]}, "options": {"magic": 1}}, "magic"),
        ({"vary": {"steps": [1]}, "archive": "attic"}, "attic"),
        ({"vary": {"method": ["magic"]}}, "magic"),
        ({"vary": {"steps": [1]}, "baseline": {"steps": 2}}, "steps"),
        ({"vary": {"steps": [1]}, "holds": {"likeness": 0.4}}, "likeness"),
        ({"vary": {"displaced": [0.1]}, "landmarks": ["found"]}, "displaced"),
        ({"vary": {"references": [0]}}, "references"),
    ],
)
def test_values_that_cannot_be_measured_are_refused(tmp_path: Path, values: dict, named: str):
    with pytest.raises(ArgumentError, match=named):
        read_study(_written(tmp_path, **values))


@pytest.mark.parametrize("text", ["{", "[]"])
def test_what_is_no_study_is_refused(tmp_path: Path, text: str):
    (tmp_path / "mine.json").write_text(text)
    with pytest.raises(FileFormatError, match="mine"):
        read_study(tmp_path / "mine.json")


def test_an_unknown_name_is_answered_with_those_there_are():
    with pytest.raises(FileFormatError, match="forwards"):
        read_study("magic")

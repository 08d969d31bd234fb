"""Figures to JSON and back, sums that forget nobody, and tables."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from idfsr_core.errors import ArgumentError, FileFormatError
from idfsr_core.evaluation.report import markdown
from idfsr_core.evaluation.results import Evaluation, ResultSet, paired_gain


def results(values=(0.1, 0.5, 0.6), failures=(None, "not found", None), method="pooled", **more) -> ResultSet:
    figures = {"identity.mbf_y1": tuple(values), "psnr": (20.0, 21.0, math.nan)[: len(values)]}
    return ResultSet(
        method=method,
        title=method,
        scale=more.pop("scale", 16),
        landmarks=more.pop("landmarks", "found"),
        cases=tuple(range(len(values))),
        failures=tuple(failures),
        figures=figures | more.pop("figures", {}),
        of_set={"frechet.mbf_y1": 0.25},
        seconds=0.5,
    )


@given(values=st.lists(st.floats(-1, 1), min_size=3, max_size=3))
@settings(max_examples=25, deadline=None)
def test_failed_faces_count_in_every_mean(values: list[float]):
    mean, error, count = results(values).mean("identity.mbf_y1")
    assert count == 3
    assert mean == pytest.approx(np.mean(values), abs=1e-9)
    assert error == pytest.approx(np.std(values, ddof=1) / 3**0.5, abs=1e-9)


def test_a_set_that_lost_a_face_is_refused():
    with pytest.raises(ArgumentError, match="one value per face"):
        ResultSet(
            method="x",
            title="",
            scale=8,
            landmarks="true",
            cases=(0, 1),
            failures=(None, None),
            figures={"psnr": (1.0,)},
        )


def test_a_figure_that_does_not_exist_is_left_out_of_its_own_n_only():
    found = results()
    assert found.mean("psnr")[2] == 2
    assert found.mean("identity.mbf_y1")[2] == 3
    assert math.isnan(found.mean("ssim")[0])


def test_a_report_comes_back_from_its_file(tmp_path: Path):
    evaluation = Evaluation(
        about={"command": "evaluate"}, sets=(results(), results(method="second_photo", scale=0, landmarks=""))
    )
    evaluation.save(tmp_path / "report.json")
    again = Evaluation.load(tmp_path / "report.json")
    assert again.about == evaluation.about
    assert [each.to_dict() for each in again.sets] == [each.to_dict() for each in evaluation.sets]
    assert math.isnan(again.sets[0].figures["psnr"][2])
    assert again.get("pooled", 16, "found") is again.sets[0]
    assert again.get("pooled", 8, "found") is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "other"}', '{"format": "idfsr-evaluation", "version": 1}'])
def test_a_damaged_report_is_named(tmp_path: Path, text: str):
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(FileFormatError, match="report"):
        Evaluation.load(path)


def test_paired_gain_is_a_mean_of_differences():
    gain, error, count = paired_gain(
        results((0.3, 0.6, 0.9)), results((0.2, 0.4, 0.6), method="base"), "identity.mbf_y1"
    )
    assert (gain, count) == (pytest.approx(0.2), 3)
    assert error == pytest.approx(0.1 / 3**0.5)


def test_tables_show_means_errors_and_failures():
    other = results(method="other_person", figures={"other.mbf_y1": (0.9, 0.9, 0.9)})
    ceiling = results(method="second_photo", scale=0, landmarks="")
    true = results(landmarks="true")
    text = markdown(Evaluation(about={"command": "evaluate --seed 0"}, sets=(true, results(), other, ceiling)))
    assert "- command: evaluate --seed 0" in text
    assert "0.400 ± 0.153" in text
    assert text.index("found in the LR picture") < text.index("landmarks true")
    assert "0.400 / 0.900 / 100%" in text
    row = next(line for line in text.splitlines() if line.startswith("| pooled"))
    assert row.endswith("| 0.250 | 0.50 | 1 |")

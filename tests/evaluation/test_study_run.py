"""Studies with tiny networks: the same people and targets in every row, nothing measured twice."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from idfsr_core.bundle import ModelCard, load_bundle, save_bundle
from idfsr_core.errors import ArgumentError, FileFormatError
from idfsr_core.evaluation import harness
from idfsr_core.evaluation.london import read_london, smiling_from_neutral
from idfsr_core.evaluation.measuring import Instruments
from idfsr_core.evaluation.opening import Material, Sources
from idfsr_core.evaluation.protocol import EvaluationSettings
from idfsr_core.evaluation.spread import spread
from idfsr_core.evaluation.study_plan import StudyPlan
from idfsr_core.evaluation.study_report import StudyReport
from idfsr_core.evaluation.study_run import Workplace, folder_name, run_study
from idfsr_core.evaluation.trained_runs import read_runs
from idfsr_core.images import write_image
from idfsr_core.pretraining.checkpoint import save_checkpoint
from idfsr_core.runtime import Runtime
from tests import tiny
from tests.evaluation.people import StubEncoder, StubLandmarks, library

QUICK = StudyPlan(name="mine", people=3, references=2, scales=(16,), vary={"steps": (1, 2)})
Places = Callable[..., Workplace]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_bundle(tmp_path_factory.mktemp("bundle") / "tiny.safetensors")


@pytest.fixture
def places(bundle: Path, tmp_path: Path) -> Places:
    """Makes workplaces with a little library for both archives."""

    def make(**more) -> Workplace:
        instruments = Instruments(encoders={"stub": StubEncoder()}, landmarks=StubLandmarks())  # pyright: ignore
        pairs = Material(library=library(photos=2), instruments=instruments, choose=smiling_from_neutral)
        return Workplace(
            bundle=load_bundle(bundle),
            sources=Sources(faces=tmp_path, weights=tmp_path),
            folder=tmp_path / "sets",
            runtime=Runtime(),
            materials={"faces": Material(library=library(photos=6), instruments=instruments), "london": pairs},
            say=lambda line: None,
            **more,
        )

    return make


def _identity(report: StudyReport) -> list[tuple[float, ...]]:
    return [row.sets[0].figures["identity.stub"] for row in report.rows]


def test_every_row_has_a_figure_for_every_person_and_a_baseline(places: Places):
    plan = replace(QUICK, vary={"steps": (1, 2), "consistency": (0.0, 1.0)}, baseline={"steps": 2})
    report = run_study(plan, places(), {"command": "evaluate study mine"})
    assert [row.values for row in report.rows] == plan.rows()
    assert [row.baseline for row in report.rows] == [2, 3, 2, 3]
    assert all(len(values) == 3 for values in _identity(report))
    assert len(set(_identity(report))) == 4
    assert report.about["people"] == "3, each with 3 photos or more"
    assert report.about["command"] == "evaluate study mine"
    assert "steps" not in json.loads(report.about["options"])


def test_rows_with_few_and_many_references_rebuild_the_same_photos(places: Places):
    plan = replace(QUICK, vary={"references": (1, 5), "method": ("bicubic", "pooled")})
    report = run_study(plan, places(), {})
    bicubic, pooled, bicubic_of_more, pooled_of_more = _identity(report)
    assert bicubic == bicubic_of_more
    assert pooled != pooled_of_more


def test_a_second_run_reads_what_the_first_measured(places: Places, monkeypatch: pytest.MonkeyPatch):
    first = run_study(QUICK, places(), {})
    monkeypatch.setattr(harness, "make_situation", lambda *_: pytest.fail("measured again"))
    again = run_study(QUICK, places(), {})
    for one, other in zip(_identity(again), _identity(first), strict=True):
        assert one == pytest.approx(other, abs=1e-4)
    with pytest.raises(pytest.fail.Exception, match="measured again"):
        run_study(replace(QUICK, vary={"steps": (1, 2, 3)}), places(), {})


def test_displaced_landmarks_are_off_by_as_much_as_the_row_says(places: Places):
    report = run_study(replace(QUICK, vary={"displaced": (0.0, 0.2)}), places(), {})
    assert [row.sets[0].mean("found_error")[0] for row in report.rows] == pytest.approx([0, 0.2], abs=1e-3)


def test_another_persons_vector_is_compared_with_that_person(places: Places):
    report = run_study(replace(QUICK, vary={"method": ("pooled", "other_vector")}), places(), {})
    assert ["other.stub" in row.sets[0].figures for row in report.rows] == [False, True]


def test_fits_start_from_the_pooled_identity(places: Places, tmp_path: Path):
    plan = replace(QUICK, people=2, vary={"references": (1, 2), "fit_steps": (0, 1)}, baseline={"fit_steps": 0})
    report = run_study(plan, places(), {})
    assert [row.sets[0].method for row in report.rows] == ["pooled", "fitted", "pooled", "fitted"]
    fits = list((tmp_path / "sets" / "mine").glob("*/fitted-*/*.safetensors"))
    assert len(fits) == 4


def test_the_spread_is_that_of_the_results_of_one_person(places: Places):
    plan = replace(QUICK, references=2, least_photos=4, vary={"draw": (0, 1, 2)}, spread=True)
    report = run_study(plan, places(), {})
    (alike,) = report.spread
    assert (alike.scale, alike.landmarks) == (16, "true")
    assert len(alike.figures["spread.stub"]) == 3
    assert all(0.5 < value < 1 for value in alike.figures["spread.stub"])  # the small picture is the same


def test_results_that_are_the_same_are_wholly_alike():
    same, other = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    assert spread([same, same, same]) == pytest.approx([1])
    assert spread([same, same, other]) == pytest.approx([1 / 3])  # pairs: 1, 0, 0


def test_people_of_two_photos_are_rebuilt_from_the_first(places: Places):
    plan = replace(QUICK, archive="london", references=1, vary={"method": ("composite_best", "pooled")})
    report = run_study(plan, places(), {})
    assert report.about["people"] == "3"
    assert report.rows[0].sets[0].cases == (0, 1, 2)
    photos = library(people=2, photos=2)
    cases = smiling_from_neutral(photos, EvaluationSettings())
    assert [(case.references, case.target) for case in cases] == [((0,), 1), ((2,), 3)]


def test_the_london_set_is_read_in_the_order_of_its_names(tmp_path: Path):
    for person in ("001", "002"):
        (tmp_path / person).mkdir()
        for name, light in (("neutral", 1.0), ("smiling", 0.5)):
            write_image(tmp_path / person / f"{name}.jpg", tiny.portrait(400) * light)
    found = read_london(tmp_path, tiny.StubAnalyzer((0.5, 0.5, 0.5)))
    assert found.identities.tolist() == [0, 0, 1, 1]
    light = [found.photo(index).mean() for index in range(4)]
    assert light[0] > 1.5 * light[1]
    assert light[2] > 1.5 * light[3]


def test_a_missing_london_set_is_named(tmp_path: Path):
    with pytest.raises(ArgumentError, match="nowhere"):
        read_london(tmp_path / "nowhere", tiny.StubAnalyzer())


def _runs(folder: Path) -> Path:
    """Two trainings of other weights, one with its images noted and one a bundle without."""
    denoiser = tiny.networks(seed=1)["denoiser"]
    weights = {name: value.clone() for name, value in denoiser.state_dict().items()}
    info = {"config": tiny.DENOISER.to_dict(), "batches": {"batch": 16}, "seed": 0}
    optimizer = torch.optim.SGD(denoiser.parameters(), lr=0.1)
    save_checkpoint(folder / "half", 100, denoiser, weights, optimizer, info)
    save_bundle(folder / "mine.safetensors", {"denoiser": tiny.networks(seed=2)["denoiser"]}, ModelCard(name="mine"))
    (folder / "log.csv").write_text("no training")
    return folder


def test_trainings_are_found_with_what_is_known_of_them(tmp_path: Path):
    mine, half = read_runs(_runs(tmp_path))
    assert (mine.name, mine.told()) == ("mine", {})
    assert (half.name, half.images) == ("half", 1600)
    assert half.about
    assert half.bundle.hash != mine.bundle.hash


def test_trainings_are_compared_with_one_finder_and_encoder(places: Places, tmp_path: Path):
    plan = replace(QUICK, vary={"run": ("all",), "method": ("bicubic", "pooled")}, baseline={"run": "half"})
    report = run_study(plan, places(runs=_runs(tmp_path / "runs")), {})
    assert [row.values["run"] for row in report.rows] == ["mine", "mine", "half", "half"]
    assert [row.baseline for row in report.rows] == [2, 3, 2, 3]
    bicubic, pooled, same, other = _identity(report)
    assert bicubic == same
    assert pooled != other
    assert report.rows[2].told["images seen"] == 1600


def test_a_study_of_trainings_needs_their_folder(places: Places, tmp_path: Path):
    plan = replace(QUICK, vary={"run": ("all",)})
    with pytest.raises(ArgumentError, match="--runs"):
        run_study(plan, places(), {})
    with pytest.raises(FileFormatError, match="no training"):
        run_study(plan, places(runs=tmp_path / "nowhere"), {})


def test_rows_have_folders_of_their_own():
    names = [folder_name(values) for values in ({"a": 1, "b": "x/y"}, {"a": 1, "b": "x_y"}, {"a": "1-x_y"})]
    assert len(set(names)) == 3
    assert not any("/" in name for name in names)

"""The run: nothing dropped, nothing lost, nothing measured twice."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from idfsr_core.errors import ArgumentError, ImageError
from idfsr_core.evaluation import harness
from idfsr_core.evaluation.harness import load_pictures, restore_all
from idfsr_core.evaluation.methods import METHODS, Method, chosen
from idfsr_core.evaluation.protocol import EvaluationSettings
from tests import tiny
from tests.evaluation.people import study

SETTINGS = EvaluationSettings(people=4, references=2, scales=(16,), landmarks=("found", "true"))
QUICK = EvaluationSettings(people=4, references=2, scales=(16,), landmarks=("true",))


def test_a_run_gives_every_face_a_figure(tmp_path: Path):
    evaluation = study(tmp_path, SETTINGS).run({})
    assert len(evaluation.sets) == 2 + 2 * 3
    for result in evaluation.sets:
        assert len(result.cases) == 4
        assert result.failed == 0
        assert not any(math.isnan(value) for value in result.figures["identity.stub"])
    best, bicubic = (evaluation.get(name, 16, "true") for name in ("composite_best", "bicubic"))
    assert best is not None
    assert bicubic is not None
    assert best.figures["found_error"] == pytest.approx([0] * 4, abs=1e-5)
    assert bicubic.seconds < best.seconds


def test_found_faces_are_measured_in_the_pixels_of_the_truth(tmp_path: Path):
    evaluation = study(tmp_path, SETTINGS).run({})
    for method in ("bicubic", "composite_best"):
        true, found = evaluation.get(method, 16, "true"), evaluation.get(method, 16, "found")
        assert true is not None
        assert found is not None
        # the whole picture also shows what lies beyond the crop, which helps at its border
        assert found.mean("psnr")[0] > true.mean("psnr")[0] - 1


def test_a_second_run_reads_what_the_first_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    first = study(tmp_path, QUICK).run({})
    monkeypatch.setattr(harness, "make_situation", lambda *_: pytest.fail("measured again"))
    again = study(tmp_path, QUICK).run({})
    assert [each.figures["psnr"] for each in again.sets if each.scale] == [
        pytest.approx(each.figures["psnr"], abs=1e-4) for each in first.sets if each.scale
    ]


def test_other_settings_do_not_read_old_figures(tmp_path: Path):
    best, first = METHODS["composite_best"], study(tmp_path, QUICK)
    other = study(tmp_path, EvaluationSettings(people=4, references=3, scales=(16,), landmarks=("true",)))
    assert first.fingerprint(best) != other.fingerprint(best)
    assert first.fingerprint(best) == study(tmp_path, SETTINGS).fingerprint(best)  # more landmarks: the figures hold


def test_another_denoiser_makes_void_only_what_used_it(tmp_path: Path):
    before, after = study(tmp_path, QUICK), study(tmp_path, QUICK)
    before.weights, after.weights = {"denoiser": "a"}, {"denoiser": "b"}
    assert before.fingerprint(METHODS["pooled"]) != after.fingerprint(METHODS["pooled"])
    assert before.fingerprint(METHODS["bicubic"]) == after.fingerprint(METHODS["bicubic"])


def test_a_face_not_found_is_restored_in_a_rough_box_and_counted(tmp_path: Path):
    run = study(tmp_path, SETTINGS, analyzer=tiny.StubAnalyzer())
    result = run.run({}).get("composite_best", 16, "found")
    assert result is not None
    assert result.failures == ("not found",) * 4
    assert len(result.figures["psnr"]) == 4
    assert all(0 < value < 2 for value in result.figures["found_error"])


def test_a_face_in_a_wrong_place_is_counted(tmp_path: Path):
    run = study(tmp_path, SETTINGS, analyzer=tiny.StubAnalyzer((0.1, 0.1, 1 / 3)))
    result = run.run({}).get("composite_best", 16, "found")
    assert result is not None
    assert result.failures == ("wrong place",) * 4


def test_a_restoration_that_breaks_off_scores_as_the_bicubic(tmp_path: Path):
    run = study(tmp_path, QUICK)
    situations, _ = run._prepare(16, "true")

    def breaks(faces, tools):
        if any(face.subject.case.number == 2 for face in faces):
            raise ImageError("restored face", "not finite", "try again")
        return [torch.ones_like(face.truth) for face in faces]

    pictures, failures = restore_all(Method(name="broken", title="", restore=breaks), situations, run.tools)
    assert [failure is not None for failure in failures] == [False, False, True, False]
    assert torch.equal(pictures[2], situations[2].bicubic())
    assert bool((pictures[0] == 1).all())


def test_the_denoiser_runs_in_batches_and_another_identity_is_compared(tmp_path: Path):
    denoiser = tiny.networks()["denoiser"].eval()
    names = ("pooled", "one_reference", "other_person", "other_vector", "no_identity")
    run = study(tmp_path, QUICK, denoiser=denoiser, names=names)
    evaluation = run.run({})
    other = evaluation.get("other_person", 16, "true")
    assert other is not None
    assert len(other.figures["other.stub"]) == 4
    pictures = load_pictures(tmp_path, "pooled-16x-true")
    assert pictures.shape == (4, 3, 128, 128)
    assert pictures.dtype == np.uint8


def test_methods_whose_network_is_missing_are_refused_by_name():
    assert [method.name for method in chosen((), ())] == ["bicubic", "composite_random", "composite_best"]
    assert {method.name for method in chosen((), ("denoiser", "paper", "fitted"))} == set(METHODS)
    with pytest.raises(ArgumentError, match="paper"):
        chosen(("paper",), ("denoiser",))
    with pytest.raises(ArgumentError, match="magic"):
        chosen(("magic",), ())

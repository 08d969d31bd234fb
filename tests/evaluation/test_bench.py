"""The benchmark measures what it says; its own figures are those of no particular machine."""

import time

import pytest
import torch

from idfsr_core.diffusion.judge import judge_by
from idfsr_core.errors import ArgumentError
from idfsr_core.evaluation import bench
from idfsr_core.evaluation.bench import BenchSettings, Ratio
from idfsr_core.faces.compact import CompactAnalyzer
from idfsr_core.identity.compact import CompactEncoder
from idfsr_core.runtime import Runtime
from idfsr_core.warping import keypoints_of
from tests import tiny

QUICK = BenchSettings(repeats=1, steps=1)


def test_a_ratio_of_known_times_is_found():
    done, base, ratio = bench.in_turns(lambda: time.sleep(0.06), lambda: time.sleep(0.02), 3)
    assert done > base
    assert 1.5 < ratio < 5


def test_limits_hold_in_their_direction():
    values = {"name": "x", "what": "x", "seconds": 1.0, "base": 1.0}
    assert Ratio(**values, ratio=1.05, limit=1.1).passed
    assert not Ratio(**values, ratio=1.15, limit=1.1).passed
    assert Ratio(**values, ratio=6, limit=5, at_least=True).passed
    assert not Ratio(**values, ratio=4, limit=5, at_least=True).passed


def test_restoring_and_warping_are_measured():
    networks = tiny.networks()
    restore = bench.bench_restore(networks["denoiser"].eval(), QUICK, Runtime())  # pyright: ignore
    warp = bench.bench_warp(QUICK)
    assert restore.ratio > 0.3
    assert warp.ratio > 0
    report = bench.bench_report([restore, warp], {"ram": 512.0}, {"bundle": "tiny"})
    table = bench.bench_table(report)
    assert "512 MiB ram" in table
    assert table.count("\n| ") == 3


def test_steering_is_measured_against_bare_gradients():
    networks = tiny.networks()
    judge = judge_by(CompactEncoder(networks["encoder"]), CompactAnalyzer(networks["analyzer"]))  # pyright: ignore
    ratio = bench.bench_steer(judge, QUICK, Runtime())
    assert ratio.base > 0
    assert ratio.limit == bench.STEER_LIMIT


def test_a_fitting_step_is_measured_against_a_bare_one():
    networks = tiny.networks()
    ratio = bench.bench_fit(networks["denoiser"], CompactEncoder(networks["encoder"]), QUICK, Runtime())  # pyright: ignore
    assert ratio.base > 0
    assert ratio.limit == bench.FIT_LIMIT


def test_the_bare_step_reaches_the_identity_and_no_weight():
    networks = tiny.networks()
    denoiser = networks["denoiser"]
    bench.bare_step(denoiser, CompactEncoder(networks["encoder"]), Runtime())()  # pyright: ignore
    assert all(parameter.grad is None for parameter in denoiser.parameters())


def test_the_schematic_face_has_its_parts_in_their_places():
    face = bench.schematic_face()
    assert face.shape == (68, 2)
    left, right, nose, left_mouth, right_mouth = keypoints_of(face[None])[0]
    assert float(left[0]) < float(nose[0]) < float(right[0])
    assert float(left_mouth[0]) < float(right_mouth[0])
    assert float(nose[1]) < float(left_mouth[1])
    assert torch.cdist(face, face).fill_diagonal_(9).min() > 0.5


def test_settings_refuse_no_repeats():
    with pytest.raises(ArgumentError, match="repeats"):
        BenchSettings(repeats=0)

"""Degrade Face and Evaluate Restoration."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.nodes.running import Pack
from tests.tiny import portrait


def pictures(count: int = 1, side: int = 128) -> Tensor:
    """A batch as ComfyUI has it."""
    return torch.cat([portrait(side, seed) for seed in range(count)]).movedim(1, -1)


# --- degrade ---


def test_degrading_makes_small_or_keeps_the_size(pack: Pack) -> None:
    (small,) = pack.run("IDFSRDegradeFace", image=pictures(2))
    assert small.shape == (2, 8, 8, 3)
    wanted = torch.nn.functional.avg_pool2d(pictures(2).movedim(-1, 1), 16)
    assert torch.allclose(small.movedim(-1, 1), wanted, atol=1e-6)
    (large,) = pack.run("IDFSRDegradeFace", image=pictures(2), keep_size=True)
    assert large.shape == (2, 128, 128, 3)
    assert len(pack.ui["images"]) == 2


@pytest.mark.parametrize("damage", [{"blur": 2.0}, {"noise": 20.0}, {"jpeg": 20}])
def test_every_damage_shows(pack: Pack, damage: dict[str, Any]) -> None:
    (clean,) = pack.run("IDFSRDegradeFace", image=pictures(), scale=4.0)
    (bad,) = pack.run("IDFSRDegradeFace", image=pictures(), scale=4.0, **damage)
    assert float((bad - clean).abs().mean()) > 1e-3


def test_the_seed_decides_the_noise(pack: Pack) -> None:
    noisy = lambda seed: pack.run("IDFSRDegradeFace", image=pictures(), noise=20.0, seed=seed)[0]
    assert torch.equal(noisy(3), noisy(3))
    assert not torch.equal(noisy(3), noisy(2**53 - 1))


def test_a_picture_that_would_vanish_is_refused(pack: Pack) -> None:
    with pytest.raises(pack.core("errors").ArgumentError, match="scale: 64 for 32x32 pixels; use at most 32"):
        pack.run("IDFSRDegradeFace", image=pictures(side=32), scale=64.0)


def test_degrading_can_be_interrupted(pack: Pack) -> None:
    pack.interrupt()
    with pytest.raises(pack.interrupted):
        pack.run("IDFSRDegradeFace", image=pictures(2))


# --- evaluate ---


def test_a_result_is_measured_and_drawn(pack: Pack) -> None:
    truth = pictures(2)
    (small,) = pack.run("IDFSRDegradeFace", image=truth, scale=8.0)
    (result,) = pack.run("IDFSRDegradeFace", image=truth, scale=8.0, keep_size=True)
    report, sheet, identity = pack.run(
        "IDFSREvaluate", result=result, ground_truth=truth, lr=small, analyzer=pack.stub_analyzer((0.5, 0.5, 0.4))
    )
    for figure in ("2 pictures", "PSNR", "SSIM", "LR-PSNR", "identity similarity", "landmark error"):
        assert figure in report
    assert -1 <= identity <= 1
    assert sheet.shape[0] == 1
    assert sheet.shape[1] > sheet.shape[2] / 4 * 1.5, "two rows of four"
    assert pack.said == [report]
    assert len(pack.ui["images"]) == 1


def test_a_perfect_result(pack: Pack) -> None:
    analyzer = pack.stub_analyzer((0.5, 0.5, 0.4))
    report, _, identity = pack.run("IDFSREvaluate", result=pictures(), ground_truth=pictures(), analyzer=analyzer)
    assert identity == pytest.approx(1, abs=1e-5)
    assert "PSNR: 100.00 dB" in report


def test_without_an_analyzer_there_is_no_identity(pack: Pack) -> None:
    report, _, identity = pack.run("IDFSREvaluate", result=pictures(), ground_truth=pictures(side=64))
    assert identity == 0.0
    assert "identity" not in report
    assert "resized from 64x64 to 128x128" in report


@pytest.mark.parametrize(
    ("given", "error", "what"),
    [
        ({"ground_truth": torch.zeros(1, 128, 64, 3)}, "ArgumentError", "ground_truth: 64x128 pixels"),
        ({"ground_truth": torch.zeros(0, 128, 128, 3)}, "ImageError", "ground_truth: 0 pictures"),
        ({"result": torch.zeros(0, 128, 128, 3)}, "ImageError", "result: 0 pictures"),
        ({"lr": torch.zeros(1, 256, 256, 3)}, "ArgumentError", "lr: 256x256 pixels"),
    ],
)
def test_bad_wiring_is_told_in_the_words_of_the_inputs(
    pack: Pack, given: dict[str, Tensor], error: str, what: str
) -> None:
    inputs = {"result": pictures(), "ground_truth": pictures()} | given
    with pytest.raises(getattr(pack.core("errors"), error), match=what):
        pack.run("IDFSREvaluate", **inputs)


def test_a_truth_without_a_face_is_said_so(pack: Pack) -> None:
    with pytest.raises(pack.core("errors").FaceNotFoundError, match="ground_truth: no face found"):
        pack.run("IDFSREvaluate", result=pictures(), ground_truth=pictures(), analyzer=pack.stub_analyzer())

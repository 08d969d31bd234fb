"""Pretraining end to end on a tiny denoiser: it learns, it continues bit for bit, its loss curve is held."""

import csv
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from idfsr_core.diffusion.config import DenoiserConfig
from idfsr_core.diffusion.judge import Judge
from idfsr_core.errors import ArgumentError, FileFormatError
from idfsr_core.pretraining.batches import Batch, BatchMaker, BatchSettings
from idfsr_core.pretraining.checkpoint import latest_checkpoint
from idfsr_core.pretraining.loop import PretrainSettings, _any, _check_start, pretrain
from tests.diffusion.faces import TINY
from tests.diffusion.judges import linear_judge

from .library import drawn_library

CONFIG = replace(DenoiserConfig(**TINY), size=64)
GOLDEN = Path(__file__).with_name("golden_losses.json")


def settings(folder: Path, steps: int, **changes) -> PretrainSettings:
    plain = {
        "precision": "no",
        "workers": 0,
        "save_every": 100,
        "sheet_every": 1000,
        "warmup": 2,
        "learning_rate": 2e-3,
    }
    return PretrainSettings(output=folder, steps=steps, **(plain | changes))


def run(folder: Path, steps: int, batch: int = 2, judge: Judge | None = None, **changes) -> dict[str, torch.Tensor]:
    maker = BatchMaker(drawn_library(), BatchSettings(size=64, batch=batch, scales={8: 1.0}))
    return pretrain(CONFIG, maker, settings(folder, steps, **changes), judge=judge)


def losses(folder: Path) -> list[float]:
    with (folder / "log.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def test_a_continued_training_is_the_same_bit_for_bit(tmp_path):
    # the learning rate depends on the number of steps in all, so the first half is stopped by the clock
    whole = run(tmp_path / "whole", 4)
    run(tmp_path / "parts", 4, minutes=0)
    assert latest_checkpoint(tmp_path / "parts").name == "step-0000001"  # pyright: ignore[reportOptionalMemberAccess]
    parts = run(tmp_path / "parts", 4)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")
    assert (tmp_path / "parts" / "sheet-0000004.png").is_file()


def test_the_loss_curve_is_the_golden_one(tmp_path, request):
    """A change of network, data or loss that changes training shows here; renew with ``--renew-golden``."""
    run(tmp_path, 12, batch=4)
    found = losses(tmp_path)
    if request.config.getoption("--renew-golden"):
        GOLDEN.write_text(json.dumps(found) + "\n")
    # other processors round otherwise, and twelve steps carry that along
    assert found == pytest.approx(json.loads(GOLDEN.read_text()), rel=0.02)


def test_the_slopes_that_the_denoiser_learns_from_are_those_of_start_and_first_estimate(tmp_path):
    plain, asked = linear_judge(CONFIG.identity_dim), []

    class Watched(Judge):
        def slope(self, faces, identity):
            asked.append(len(faces))
            return super().slope(faces, identity)

    judge = Watched(encoder=plain.encoder, find=plain.find)
    with_slopes = run(tmp_path / "with", 2, batch=4, judge=judge, start_share=0.5, sheet_every=9)
    without = run(tmp_path / "without", 2, batch=4, start_share=0.5)
    assert asked[:2] == [4, sum(asked[1:2])]
    assert 0 < asked[1] < 4
    first = next(name for name in without if name.endswith("conv_in.weight"))
    assert not torch.equal(with_slopes[first], without[first])


class OneBatch(BatchMaker):
    """Always the same batch, which a network that learns anything must come to know."""

    def make(self, step: int, process: int = 0) -> Batch:
        return super().make(0)


def test_training_learns_a_batch_by_heart(tmp_path):
    maker = OneBatch(drawn_library(), BatchSettings(size=64, batch=2, scales={8: 1.0}))
    pretrain(CONFIG, maker, settings(tmp_path, 40, learning_rate=4e-3))
    found = losses(tmp_path)
    assert sum(found[-5:]) < 0.85 * sum(found[:5])


class OneSpoilt(OneBatch):
    """A batch of which nothing can be learned, among others."""

    def make(self, step: int, process: int = 0) -> Batch:
        batch = super().make(step)
        return replace(batch, target=batch.target * torch.nan) if step == 1 else batch


def test_a_step_with_gradients_that_are_not_finite_is_left_out(tmp_path):
    maker = OneSpoilt(drawn_library(), BatchSettings(size=64, batch=2, scales={8: 1.0}))
    weights = pretrain(CONFIG, maker, settings(tmp_path, 3))
    assert all(bool(value.isfinite().all()) for value in weights.values())
    assert losses(tmp_path)[1] != losses(tmp_path)[1]


class Others:
    """Stands for an accelerator: what this process says, and what another one does."""

    device = torch.device("cpu")

    def __init__(self, other: int) -> None:
        self.other = other

    def gather(self, value: torch.Tensor) -> torch.Tensor:
        return torch.cat([value, torch.full_like(value, self.other)])


def test_processes_that_do_not_see_the_same_checkpoint_do_not_start():
    _check_start(Others(200), 200)
    with pytest.raises(ArgumentError, match="all machines share"):
        _check_start(Others(0), 200)


def test_one_process_that_stops_stops_all():
    assert _any(Others(1), False)
    assert _any(Others(0), True)
    assert not _any(Others(0), False)


def test_another_configuration_does_not_continue(tmp_path):
    run(tmp_path, 1)
    maker = BatchMaker(drawn_library(), BatchSettings(size=64, batch=2, scales={8: 1.0}))
    with pytest.raises(ArgumentError, match="configuration"):
        pretrain(replace(CONFIG, start_noise=0.1), maker, settings(tmp_path, 2))


def test_a_damaged_checkpoint_is_refused_by_name(tmp_path):
    run(tmp_path, 1)
    newest = latest_checkpoint(tmp_path)
    assert newest is not None
    (newest / "optimizer.safetensors").write_bytes(b"x" * 64)
    with pytest.raises(FileFormatError, match="step-0000001"):
        run(tmp_path, 2)


def test_the_rate_warms_up_and_falls(tmp_path):
    plan = settings(tmp_path, 100, warmup=10, learning_rate=1.0)
    rates = [plan.rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.05, abs=0.01)
    assert all(earlier >= later for earlier, later in pairwise(rates[10:]))

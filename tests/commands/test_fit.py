"""`fit` from photos to file."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from idfsr_core.cli import build_parser, main
from idfsr_core.commands.common import Interrupt
from idfsr_core.fitting import FittingSettings
from idfsr_core.identity.embedding import IdentityEmbedding
from idfsr_core.images import write_image
from tests import tiny
from tests.tiny import StubAnalyzer, portrait


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """`fit` on four photos of one person by tiny networks, writing anna.safetensors."""
    monkeypatch.setattr("idfsr_core.commands.common.analyzer_of", lambda *_: StubAnalyzer((0.5, 0.5, 0.4)))
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(4):
        write_image(photos / f"{number}.png", (portrait(seed=1) + 0.01 * number).clamp(0, 1))
    bundle = tiny.write_bundle(tmp_path / "tiny.safetensors")
    output = tmp_path / "anna.safetensors"
    return ["fit", str(photos), "--output", str(output), "--bundle", str(bundle), "--device", "cpu", "--steps", "5"]


def test_fit_writes_an_identity_and_tells_the_curve(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [point["step"] for point in said["curve"]] == [0, 5]
    assert said["kept_out"] in {f"{number}.png" for number in range(4)}
    similarities = [point["similarity"] for point in said["curve"]]
    assert said["best_step"] == (5 if similarities[1] > similarities[0] else 0)
    identity = IdentityEmbedding.load(tmp_path / "anna.safetensors")
    assert identity.kind == ("fitted" if said["best_step"] else "pooled")


def test_the_seed_decides_the_fit(command: list[str], tmp_path: Path) -> None:
    vectors = []
    for seed in ("1", "1"):
        assert main([*command, "--seed", seed]) == 0
        vectors.append(IdentityEmbedding.load(tmp_path / "anna.safetensors").vector)
    assert torch.equal(*vectors)


def test_a_fit_can_go_on_from_an_identity(command: list[str], tmp_path: Path) -> None:
    assert main(command) == 0
    again = [*command, "--identity", str(tmp_path / "anna.safetensors")]
    again[again.index("--output") + 1] = str(tmp_path / "more.safetensors")
    assert main(again) == 0
    assert (tmp_path / "more.safetensors").is_file()


@pytest.mark.parametrize("wrong", [("--steps", "0"), ("--rate", "-1"), ("--pull", "1000")])
def test_settings_out_of_range_write_nothing(
    command: list[str], tmp_path: Path, wrong: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, *wrong]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert not (tmp_path / "anna.safetensors").exists()


def test_the_help_tells_the_true_defaults() -> None:
    args, settings = build_parser().parse_args(["fit", "photos", "--output", "x"]), FittingSettings()
    assert (args.steps, args.rate, args.pull, args.seed) == (
        settings.steps,
        settings.learning_rate,
        settings.pull,
        settings.seed,
    )


@pytest.fixture
def listens_to_interrupts() -> Iterator[None]:
    """A process started in the background ignores SIGINT; here it does what it does in a terminal."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("listens_to_interrupts")
def test_the_first_interrupt_only_asks_to_stop() -> None:
    with Interrupt() as interrupt:
        assert not interrupt.asked()
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupt.asked()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

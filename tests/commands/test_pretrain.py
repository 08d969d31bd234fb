"""`pretrain` end to end on drawn faces: one step of the denoiser, and the parts joined."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from idfsr_core.bundle import load_bundle
from idfsr_core.cli import build_parser, main
from idfsr_core.commands.pretrain import recipe_of
from idfsr_core.pretraining.recipes import Recipe, read_recipe
from tests import tiny
from tests.pretraining.library import drawn_library


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A tar of drawn faces with its index, as the trainings read it."""
    library, folder = drawn_library(), tmp_path / "faces"
    folder.mkdir()
    rows = []
    with tarfile.open(folder / "a.tar", "w") as tar:
        for number, photo in enumerate(library.photos):
            entry = tarfile.TarInfo(f"{number}.png")
            entry.size = len(photo)
            tar.addfile(entry, io.BytesIO(photo))
            name = library.names[int(library.identities[number])]
            points = library.keypoints[number].tolist()
            row = {"file": entry.name, "shard": "a.tar", "identity": name, "split": "train", "keypoints": points}
            rows.append(json.dumps(row))
    (folder / "index.jsonl").write_text("\n".join(rows))
    return folder


def test_a_denoiser_is_trained_and_joined(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("idfsr_core.pretraining.recipes.read_recipe", lambda _: Recipe(denoiser=tiny.DENOISER))
    bundle, run = tiny.write_bundle(tmp_path / "tiny.safetensors"), tmp_path / "run"
    train = ["pretrain", "denoiser", "--data", str(archive), "--output", str(run), "--bundle", str(bundle)]
    assert main([*train, "--steps", "1", "--batch", "2", "--workers", "0", "--precision", "no"]) == 0
    assert "13 photos of 5 people" in capsys.readouterr().out
    assert {path.name for path in run.iterdir()} >= {"log.csv", "sheet-0000001.png", "denoiser.safetensors", "cache"}
    assert load_bundle(run / "denoiser.safetensors").parts == ("denoiser",)
    card = tmp_path / "card.json"
    card.write_text(json.dumps({"name": "new", "data": "drawn faces"}))
    joined = tmp_path / "new.safetensors"
    sources = [str(bundle), str(run / "denoiser.safetensors")]
    assert main(["pretrain", "bundle", *sources, "--output", str(joined), "--card", str(card)]) == 0
    new = load_bundle(joined)
    assert new.parts == ("denoiser", "analyzer", "encoder")
    assert (new.card.name, new.card.data) == ("new", "drawn faces")
    assert new.card.training["denoiser"]["images"] == 2


def test_the_command_line_outdoes_the_recipe() -> None:
    def recipe(*said: str) -> Recipe:
        return recipe_of(build_parser().parse_args(["pretrain", "denoiser", "--data", "a", "--output", "b", *said]))

    assert recipe() == read_recipe("compact")
    changed = recipe("--config", "paper", "--steps", "7", "--rate", "0.1", "--batch", "3")
    assert (changed.training.steps, changed.training.learning_rate, changed.batches.batch) == (7, 0.1, 3)
    assert changed.denoiser.start == "noise"

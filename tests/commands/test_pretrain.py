"""`pretrain` end to end on drawn faces: one step of the denoiser, and the parts joined."""

import io
import json
import socket
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from idfsr_core.bundle import load_bundle
from idfsr_core.cli import build_parser, main
from idfsr_core.commands.pretrain import recipe_of
from idfsr_core.images import read_image, write_image
from idfsr_core.pretraining.batches import BatchSettings
from idfsr_core.pretraining.data import read_archive
from idfsr_core.pretraining.recipes import Recipe, read_recipe
from idfsr_core.warping import keypoints_of
from tests import tiny
from tests.pretraining.drawn import Colours
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


class Finder(tiny.StubAnalyzer):
    """Finds a face in the middle of every picture, and its points in cut-outs too."""

    def __init__(self) -> None:
        super().__init__((0.5, 0.5, 0.4))

    def crop_landmarks(self, images: Tensor, keypoints: Tensor) -> Tensor:
        """[B, 68, 2] around [B, 5, 2]."""
        found = [self.landmarks(images, points.numpy()) for points in keypoints]
        return torch.from_numpy(np.stack(found)).float()

    def crop_points(self, images: Tensor, keypoints: Tensor) -> SimpleNamespace:
        """The five points among them, for steering."""
        return SimpleNamespace(keypoints=keypoints_of(self.crop_landmarks(images, keypoints)))


def test_a_match_is_trained_and_joined_with_its_encoder(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("idfsr_core.commands.pretrain._teacher", lambda path, runtime: Colours())
    bundle, run = tiny.write_bundle(tmp_path / "tiny.safetensors"), tmp_path / "run"
    train = ["pretrain", "match", "--data", str(archive), "--teacher", "colours", "--output", str(run)]
    assert main([*train, "--bundle", str(bundle), "--steps", "3", "--batch", "4", "--device", "cpu"]) == 0
    assert "cosine of the face with the chosen photo" in capsys.readouterr().out
    joined, other = tmp_path / "joined.safetensors", tiny.write_bundle(tmp_path / "other.safetensors", seed=1)
    for source in (bundle, other):
        assert main(["pretrain", "bundle", str(source), str(run / "match.safetensors"), "--output", str(joined)]) == 0
        match = load_bundle(joined).encoder.match
        assert (match is None) == (source is other)
        assert match is None or bool(match.alike.any())


def test_faces_of_256_px_are_trained_from_a_folder_and_restored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = Recipe(
        denoiser=replace(tiny.DENOISER, size=256), batches=BatchSettings(scales={32: 1.0}, batch=2, references=1)
    )
    monkeypatch.setattr("idfsr_core.pretraining.recipes.read_recipe", lambda _: recipe)
    monkeypatch.setattr("idfsr_core.bundle.Bundle.analyzer", Finder())
    bundle, run, photos = tiny.write_bundle(tmp_path / "tiny.safetensors"), tmp_path / "run", tmp_path / "photos"
    for person, sides in (("anna", (600, 610)), ("ben", (600, 150))):
        (photos / person).mkdir(parents=True)
        for number, side in enumerate(sides):
            write_image(photos / person / f"{number}.png", tiny.portrait(side, seed=len(person)))
    train = ["pretrain", "denoiser", "--data", str(photos), "--output", str(run), "--bundle", str(bundle)]
    assert main([*train, "--steps", "2", "--workers", "0", "--precision", "no"]) == 0
    said = capsys.readouterr().out
    assert "photos left out: 1 with too small a face (it has to fill 205 px of 256)" in said
    assert "trained on 3 photos of 2 people" in said
    large = tmp_path / "large.safetensors"
    assert main(["pretrain", "bundle", str(bundle), str(run), "--output", str(large)]) == 0
    assert load_bundle(large).face_size == 256
    small, out, crop = tmp_path / "small.png", tmp_path / "out.png", tmp_path / "crop.png"
    write_image(small, torch.nn.functional.avg_pool2d(tiny.portrait(seed=4), 4))
    restore = ["restore", str(small), "--references", str(photos / "anna"), "--bundle", str(large)]
    assert main([*restore, "--output", str(out), "--crop", str(crop), "--device", "cpu"]) == 0
    assert read_image(crop).shape == (1, 3, 256, 256)
    assert read_image(out).shape == (1, 3, 320, 320)  # 16 px of face, 32 px of crop, in a picture of 40


@pytest.mark.slow
def test_two_processes_train_together_and_go_on(archive: Path, tmp_path: Path) -> None:
    recipe, bundle = tmp_path / "tiny.json", tiny.write_bundle(tmp_path / "tiny.safetensors")
    batches = {"scales": {"16": 1.0}, "batch": 1}
    recipe.write_text(json.dumps({"denoiser": tiny.DENOISER.to_dict(), "batches": batches}))
    train = ["-m", "idfsr_core", "pretrain", "denoiser", "--data", archive, "--output", tmp_path / "run"]
    train += ["--bundle", bundle, "--config", recipe, "--workers", 0, "--precision", "no", "--minutes", 60]
    for steps in (2, 3):
        launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", 2, "--master_port", free_port()]
        subprocess.run([str(word) for word in (*launch, *train, "--steps", steps)], check=True, timeout=600)
    lines = (tmp_path / "run" / "log.csv").read_text().splitlines()[1:]
    assert [line.split(",")[:2] for line in lines] == [["1", "2"], ["2", "4"], ["3", "6"]]
    assert [path.name for path in (tmp_path / "run").glob("step-*")] == ["step-0000003"]
    assert load_bundle(tmp_path / "run" / "denoiser.safetensors").card.training["denoiser"]["images"] == 6


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def test_an_archive_is_made_of_a_folder_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("idfsr_core.bundle.Bundle.analyzer", Finder())
    for person in ("anna", "ben"):
        (tmp_path / "photos" / person).mkdir(parents=True)
        write_image(tmp_path / "photos" / person / "1.png", tiny.portrait(400, seed=len(person)))
    bundle, faces = tiny.write_bundle(tmp_path / "tiny.safetensors"), tmp_path / "faces"
    make = ["pretrain", "archive", "--output", str(faces), "--split", "val", "--bundle", str(bundle), "--data"]
    assert main([*make, str(tmp_path / "photos")]) == 0
    assert "2 photos of 2 people, split val" in capsys.readouterr().out
    assert read_archive(faces, "val").names == ["anna", "ben"]
    assert main([*make, str(faces)]) == 2
    assert "an archive already" in capsys.readouterr().err


def test_an_archive_of_small_faces_is_refused_for_a_larger_recipe(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = Recipe(denoiser=replace(tiny.DENOISER, size=256))
    monkeypatch.setattr("idfsr_core.pretraining.recipes.read_recipe", lambda _: recipe)
    assert main(["pretrain", "denoiser", "--data", str(archive), "--output", str(tmp_path / "run")]) == 2
    assert "an archive for 128 px, and the recipe is for 256" in capsys.readouterr().err


def test_the_command_line_outdoes_the_recipe() -> None:
    def recipe(*said: str) -> Recipe:
        return recipe_of(build_parser().parse_args(["pretrain", "denoiser", "--data", "a", "--output", "b", *said]))

    assert recipe() == read_recipe("compact")
    changed = recipe("--config", "paper", "--steps", "7", "--rate", "0.1", "--batch", "3")
    assert (changed.training.steps, changed.training.learning_rate, changed.batches.batch) == (7, 0.1, 3)
    assert changed.denoiser.start == "noise"

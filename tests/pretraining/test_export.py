"""What trainings leave behind becomes one bundle."""

from pathlib import Path

import numpy as np
import pytest
import torch

from idfsr_core.bundle import ModelCard, load_bundle, save_bundle
from idfsr_core.errors import FileFormatError
from idfsr_core.faces.compact import AnalyzerNetworks
from idfsr_core.pretraining.analyzer import save_analyzer
from idfsr_core.pretraining.checkpoint import save_checkpoint
from idfsr_core.pretraining.encoder import EncoderSettings, train_encoder
from idfsr_core.pretraining.encoder_data import EncoderPhotos
from idfsr_core.pretraining.export import export_bundle, read_trained
from tests import tiny


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as after three trainings of one step or none."""
    folder, networks = tmp_path_factory.mktemp("trained"), tiny.networks()
    analyzer = networks["analyzer"]
    assert isinstance(analyzer, AnalyzerNetworks)
    save_analyzer(folder / "analyzer.safetensors", analyzer)
    denoiser = networks["denoiser"]
    optimizer = torch.optim.AdamW(denoiser.parameters())
    averaged = {name: value + 1 for name, value in denoiser.state_dict().items()}
    info = {"config": tiny.DENOISER.to_dict(), "batches": {"batch": 4}, "processes": 2, "seed": 3}
    save_checkpoint(folder / "denoiser", 10, denoiser, averaged, optimizer, info)
    rng = np.random.default_rng(0)
    targets = rng.normal(size=(4, 32)).astype(np.float32)
    photos = EncoderPhotos(
        images=rng.integers(0, 255, (4, 128, 128, 3)).astype(np.uint8),
        to_face=np.tile(np.eye(2, 3), (4, 1, 1)),
        targets=targets / np.linalg.norm(targets, axis=1, keepdims=True),
        person=np.array([0, 0, 1, 1]),
    )
    train_encoder(EncoderSettings(config=tiny.ENCODER, batch=2, steps=1), photos, folder / "encoder")
    return folder


def test_three_trainings_become_one_bundle(trained: Path, tmp_path: Path) -> None:
    sources = [
        trained / "analyzer.safetensors",
        trained / "encoder" / "encoder-training.safetensors",
        trained / "denoiser",
    ]
    card = ModelCard(name="whole", data="noise", licence="ours", metrics={"identity": 0.5})
    bundle = load_bundle(export_bundle(tmp_path / "whole.safetensors", sources, card))
    assert bundle.parts == ("denoiser", "analyzer", "encoder")
    assert (bundle.card.name, bundle.card.data, bundle.card.metrics) == ("whole", "noise", {"identity": 0.5})
    assert bundle.card.licence == "ours"
    assert bundle.card.training["denoiser"] == {"step": 10, "images": 80, "seed": 3}
    assert bundle.card.training["encoder"]["step"] == 1
    wanted = next(iter(tiny.networks()["denoiser"].parameters())) + 1
    assert torch.allclose(next(iter(bundle.denoiser.parameters())), wanted, atol=2e-3), "the averaged weights count"
    assert bundle.encoder.dim == tiny.ENCODER.dim


def test_the_later_source_gives_a_part(trained: Path, tmp_path: Path) -> None:
    old = save_bundle(tmp_path / "old.safetensors", tiny.networks(seed=1), ModelCard(notes="old"))
    new = load_bundle(export_bundle(tmp_path / "new.safetensors", [old, trained / "analyzer.safetensors"]))
    for part, seed in {"analyzer": 0, "encoder": 1, "denoiser": 1}.items():
        wanted = next(iter(tiny.networks(seed)[part].state_dict().values()))
        assert torch.allclose(next(iter(new.network(part).state_dict().values())), wanted, atol=1e-3), part
    assert new.card.notes == "old"
    assert "non-commercial" in new.card.licence


def test_foreign_sources_are_named(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "text.safetensors").write_text("nothing")
    (tmp_path / "empty").mkdir()
    for name in ("text.safetensors", "empty", "gone.safetensors"):
        with pytest.raises(FileFormatError, match=name):
            read_trained(tmp_path / name)


def test_a_damaged_checkpoint_is_named(trained: Path) -> None:
    weights = next((trained / "denoiser").glob("step-*")) / "ema.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[: len(content) // 2])
    with pytest.raises(FileFormatError, match="step-0000010"):
        read_trained(trained / "denoiser")
    weights.write_bytes(content)

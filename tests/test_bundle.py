"""Bundles: what is saved comes back, and what is damaged is refused by name."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from idfsr_core.bundle import FORMAT_VERSION, ModelCard, load_bundle, save_bundle
from idfsr_core.errors import ArgumentError, FileFormatError, OutputError
from tests import tiny


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole tiny bundle; not to be changed."""
    return tiny.write_bundle(tmp_path_factory.mktemp("bundle") / "tiny.safetensors")


def metadata(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as opened:
        return opened.metadata()


def rewritten(source: Path, target: Path, **changes: str) -> Path:
    """The same tensors with other metadata."""
    save_file(load_file(source), target, metadata(source) | changes)
    return target


def test_weights_come_back_to_storage_precision(file: Path) -> None:
    original, bundle = tiny.networks(), load_bundle(file)
    assert bundle.parts == ("denoiser", "analyzer", "encoder")
    for part, network in original.items():
        loaded = bundle.network(part).state_dict()
        assert list(loaded) == list(network.state_dict())
        for name, tensor in network.state_dict().items():
            wanted = tensor.half().to(tensor.dtype) if tensor.is_floating_point() and tensor.ndim > 1 else tensor
            assert torch.equal(loaded[name], wanted), f"{part}.{name}"


def test_saving_a_loaded_bundle_changes_nothing(file: Path, tmp_path: Path) -> None:
    first = load_bundle(file)
    save_bundle(tmp_path / "again.safetensors", {part: first.network(part) for part in first.parts}, first.card)
    second = load_bundle(tmp_path / "again.safetensors")
    assert (second.hash, second.configs, second.card) == (first.hash, first.configs, first.card)


def test_networks_are_frozen_and_built_once(file: Path) -> None:
    bundle = load_bundle(file)
    assert bundle.denoiser is bundle.denoiser
    assert not bundle.denoiser.training
    assert not any(parameter.requires_grad for parameter in bundle.denoiser.parameters())


def test_the_analyzer_loads_without_the_denoiser(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the denoiser was built")

    monkeypatch.setattr("idfsr_core.diffusion.denoiser.Denoiser.__init__", refuse)
    bundle = load_bundle(file)
    assert bundle.analyzer is not None
    assert bundle.encoder.dim == tiny.ENCODER.dim


def test_the_card_tells_licence_and_date(file: Path) -> None:
    card = load_bundle(file).card
    assert "non-commercial" in card.licence
    assert card.created.startswith("20")
    assert ModelCard.from_dict(card.to_dict() | {"field of a later version": 1}) == card


def test_a_part_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = save_bundle(tmp_path / "part.safetensors", {"encoder": tiny.networks()["encoder"]})
    with pytest.raises(
        FileFormatError, match=r"part\.safetensors: holds encoder; name a bundle that holds the denoiser"
    ):
        _ = load_bundle(path).denoiser


def test_unknown_parts_and_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    encoder = tiny.networks()["encoder"]
    with pytest.raises(ArgumentError, match="decoder"):
        save_bundle(tmp_path / "x.safetensors", {"decoder": encoder})
    with torch.no_grad():
        next(encoder.parameters()).fill_(float("nan"))
    with pytest.raises(ArgumentError, match="not finite"):
        save_bundle(tmp_path / "x.safetensors", {"encoder": encoder})
    assert not list(tmp_path.iterdir())


def test_an_unwritable_place_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="nowhere"):
        save_bundle(tmp_path / "nowhere" / "x.safetensors", {"encoder": tiny.networks()["encoder"]})
    assert not list(tmp_path.iterdir())


def test_foreign_and_missing_files(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    (tmp_path / "text.safetensors").write_text("no weights here")
    (tmp_path / "empty.safetensors").touch()
    for name, said in {
        "foreign": "no IDFSR bundle",
        "text": "damaged",
        "empty": "damaged",
        "gone": "no such file",
    }.items():
        with pytest.raises(FileFormatError, match=rf"{name}\.safetensors.*{said}"):
            load_bundle(tmp_path / f"{name}.safetensors")


def test_a_newer_format_asks_for_an_update(file: Path, tmp_path: Path) -> None:
    path = rewritten(file, tmp_path / "newer.safetensors", format_version=str(FORMAT_VERSION + 1))
    with pytest.raises(FileFormatError, match="update the idfsr package"):
        load_bundle(path)


@pytest.mark.parametrize("key", ["format_version", "config", "card", "sha256"])
def test_damaged_metadata(file: Path, tmp_path: Path, key: str) -> None:
    with pytest.raises(FileFormatError):
        load_bundle(rewritten(file, tmp_path / "damaged.safetensors", **{key: "[1]"}))


def test_a_tensor_of_another_shape_is_named(file: Path, tmp_path: Path) -> None:
    config = json.loads(metadata(file)["config"])
    config["encoder"]["dim"] += 1
    text = json.dumps(config)
    bundle = load_bundle(file)
    bundle.configs["encoder"] = config["encoder"]
    with pytest.raises(FileFormatError, match=r"embedding\.bias of shape \[32\] instead of \[33\]"):
        bundle.network("encoder")
    with pytest.raises(FileFormatError, match="SHA-256"):
        load_bundle(rewritten(file, tmp_path / "config.safetensors", config=text))


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_no_damaged_byte_goes_unnoticed(file: Path, data: st.DataObject) -> None:
    content = bytearray(file.read_bytes())
    header = 8 + int.from_bytes(content[:8], "little")
    place = data.draw(st.integers(header, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    damaged = file.with_name("damaged.safetensors")
    damaged.write_bytes(content)
    with pytest.raises(FileFormatError):
        load_bundle(damaged)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_no_truncated_file_is_read(file: Path, data: st.DataObject) -> None:
    content = file.read_bytes()
    cut = file.with_name("cut.safetensors")
    cut.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(FileFormatError):
        load_bundle(cut)

"""Encoding, saving, loading and comparing identities."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests import tiny
from tests.nodes.running import Pack, PackFaces

NODES = ("IDFSREncodeIdentity", "IDFSRFitIdentity", "IDFSRSaveIdentity", "IDFSRLoadIdentity", "IDFSRCompareIdentity")
RED, GREEN, BLUE = ([1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0])


def picture(*colours: list[float], side: int = 160) -> Tensor:
    """A batch of plain pictures, as ComfyUI has them."""
    return torch.tensor(colours).view(-1, 1, 1, 3).expand(-1, side, side, 3).contiguous()


class Sometimes(tiny.StubAnalyzer):
    """Sees no face in black pictures."""

    def analyze(self, image: Tensor, threshold: float | None = None) -> list[Any]:
        return super().analyze(image) if float(image.max()) > 0 else []


class Colours:
    """An encoder to which people are their mean colour: random weights hardly tell pictures apart."""

    hash, dim = "0123", 3

    def __init__(self, pack: Pack, name: str = "colours") -> None:
        self.pack, self.name = pack, name

    def embed(self, image: Tensor, keypoints: Tensor) -> Any:
        vectors = torch.nn.functional.normalize(image.mean((2, 3)) - 0.5, dim=1)
        return self.pack.core("identity.encoders").Embedded(vectors=vectors, quality=torch.full((len(image),), 0.5))


@pytest.fixture
def analyzer(pack: Pack) -> Any:
    """One face in every picture that is not black; people differ by colour."""
    faces = PackFaces(Sometimes((0.5, 0.5, 0.4)), pack.core("faces.face").Face)
    return pack.sockets.Analyzer(faces, Colours(pack), None, "stub")


@pytest.fixture
def red(pack: Pack, analyzer: Any) -> Any:
    """The identity of a red person."""
    return pack.run("IDFSREncodeIdentity", analyzer=analyzer, references={"photos_1": picture(RED)})[0]


@pytest.mark.parametrize("node_id", NODES)
def test_every_input_and_output_says_what_it_is(pack: Pack, node_id: str) -> None:
    schema = pack.nodes[node_id].GET_SCHEMA()
    assert schema.category.startswith("IDFSR")
    assert schema.description.endswith(".")
    assert schema.search_aliases
    assert all(each.options.get("tooltip") for each in schema.inputs)
    assert all(each.tooltip for each in schema.outputs)
    for each in schema.inputs:
        if each.io_type in ("INT", "FLOAT"):  # the range is in the tooltip
            assert {"min", "max", "default"} <= set(each.options)
            assert " to " in each.options["tooltip"]


# --- encode -----------------------------------------------------------------------------------------------------------


def test_photos_of_several_inputs_and_sizes_become_one_identity(pack: Pack, analyzer: Any) -> None:
    inputs = {"photos_10": picture(RED, side=64), "photos_2": picture(RED, [0.9, 0.1, 0.0]), "photos_3": None}
    identity, similarities, report = pack.run("IDFSREncodeIdentity", analyzer=analyzer, references=inputs)
    assert (identity.photos, identity.kind, identity.encoder) == (3, "pooled", "colours")
    assert [line.split(":")[0] for line in report.splitlines()[1:]] == ["photo 1", "photo 2", "photo 3"]
    assert similarities.shape[0] == len(pack.ui["images"]) == 1
    assert pack.progress[-1][:2] == (3, 3)
    assert pack.said == [report]


def test_photos_left_out_are_named_with_the_reason(pack: Pack, analyzer: Any) -> None:
    references = {"photos_1": picture(RED, [0, 0, 0], RED, BLUE, RED)}
    identity, _, report = pack.run("IDFSREncodeIdentity", analyzer=analyzer, references=references)
    assert identity.photos == 3
    assert "photo 2 left out: no face found" in report
    assert "photo 4 left out: shows another person (similarity -0.33)" in report


def test_pictures_of_different_people_are_refused_with_the_similarities(pack: Pack, analyzer: Any) -> None:
    with pytest.raises(pack.core("errors").DifferentPeopleError, match=r"photo 1: 1\.00 -0\.33 -0\.33"):
        pack.run("IDFSREncodeIdentity", analyzer=analyzer, references={"photos_1": picture(RED, GREEN, BLUE)})


def test_nothing_to_encode_is_refused(pack: Pack, analyzer: Any) -> None:
    errors = pack.core("errors")
    references = {"photos_1": picture(RED), "photos_2": picture(RED)[:0]}
    with pytest.raises(errors.ImageError, match="photos_2: 0 pictures"):
        pack.run("IDFSREncodeIdentity", analyzer=analyzer, references=references)
    with pytest.raises(errors.FaceNotFoundError, match="photo 1 left out: no face found"):
        pack.run("IDFSREncodeIdentity", analyzer=analyzer, references={"photos_1": picture([0, 0, 0])})
    with pytest.raises(errors.FaceNotFoundError, match="no photos given"):
        pack.run("IDFSREncodeIdentity", analyzer=analyzer, references={})


def test_an_interrupt_ends_encoding_at_the_next_photo(pack: Pack, analyzer: Any) -> None:
    pack.interrupt(after=2)
    with pytest.raises(pack.interrupted):
        pack.run("IDFSREncodeIdentity", analyzer=analyzer, references={"photos_1": picture(*[RED] * 6)})
    assert len(pack.progress) == 2
    assert pack.run("IDFSREncodeIdentity", analyzer=analyzer, references={"photos_1": picture(RED)})[0].photos == 1


def test_the_largest_face_of_a_photo_counts(pack: Pack) -> None:
    half = picture(RED)
    half[:, :, :80] = torch.tensor(BLUE)  # the small face is on the blue side
    model = pack.model()
    both = pack.stub_analyzer((0.2, 0.5, 0.1), (0.75, 0.5, 0.4), model=model)
    one = pack.stub_analyzer((0.75, 0.5, 0.4), model=model)
    found = [pack.run("IDFSREncodeIdentity", analyzer=each, references={"photos_1": half})[0] for each in (both, one)]
    assert torch.equal(found[0].vector, found[1].vector)


# --- save and load ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["anna", "Grandma 1962", "安娜", "  anna.safetensors "])
def test_what_is_saved_is_loaded(pack: Pack, red: Any, name: str) -> None:
    assert pack.nodes["IDFSRSaveIdentity"].validate_inputs(name=name) is True
    same, used = pack.run("IDFSRSaveIdentity", identity=red, name=name)
    assert same is red
    assert used in pack.bridge.list_identities()
    loaded, report = pack.run("IDFSRLoadIdentity", name=used)
    assert torch.equal(loaded.vector, red.vector)
    assert (loaded.encoder, loaded.encoder_hash, loaded.photos) == ("colours", "0123", 1)
    assert report == "single identity of 1 photo, by colours"
    assert [file.suffix for file in pack.bridge.identity_folder().iterdir()] == [".safetensors"]


@pytest.mark.parametrize("name", ["", "  ", "../anna", "a/b", "/tmp/anna", "C:\\anna", "..", ".anna", "nul", "x" * 300])
def test_a_bad_name_writes_nothing(pack: Pack, red: Any, name: str) -> None:
    base = Path(pack.stand_in.folders.base)
    folder, before = pack.bridge.identity_folder(), sorted(base.rglob("*"))
    with pytest.raises(pack.core("errors").ArgumentError, match="name"):
        pack.run("IDFSRSaveIdentity", identity=red, name=name)
    assert sorted(base.rglob("*")) == before
    assert list(folder.iterdir()) == []
    assert "name" in pack.nodes["IDFSRSaveIdentity"].validate_inputs(name=name)  # before the fit that leads to it


def test_a_taken_name_is_replaced_or_numbered(pack: Pack, red: Any, analyzer: Any) -> None:
    green = pack.run("IDFSREncodeIdentity", analyzer=analyzer, references={"photos_1": picture(GREEN)})[0]
    pack.run("IDFSRSaveIdentity", identity=red, name="anna")
    assert pack.run("IDFSRSaveIdentity", identity=green, name="anna", if_exists="add a number")[1] == "anna 2"
    assert torch.equal(pack.run("IDFSRLoadIdentity", name="anna")[0].vector, red.vector)
    assert pack.run("IDFSRSaveIdentity", identity=green, name="anna")[1] == "anna"
    assert torch.equal(pack.run("IDFSRLoadIdentity", name="anna")[0].vector, green.vector)


def test_a_failed_save_leaves_the_older_file(pack: Pack, red: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pack.run("IDFSRSaveIdentity", identity=red, name="anna")
    file = pack.bridge.identity_path("anna")
    before = file.read_bytes()

    def full(tensors: Any, path: Any, metadata: Any) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pack.core("identity.embedding"), "save_file", full)
    with pytest.raises(pack.core("errors").OutputError, match="No space left"):
        pack.run("IDFSRSaveIdentity", identity=red, name="anna")
    assert [each.name for each in file.parent.iterdir()] == ["anna.safetensors"]
    assert file.read_bytes() == before


def test_a_changed_file_is_read_again_and_an_unchanged_one_is_not(pack: Pack, red: Any) -> None:
    node = pack.nodes["IDFSRLoadIdentity"]
    missing = node.fingerprint_inputs(name="anna")
    pack.run("IDFSRSaveIdentity", identity=red, name="anna")
    first = node.fingerprint_inputs(name="anna")
    assert first == node.fingerprint_inputs(name="anna") != missing
    file = pack.bridge.identity_path("anna")
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1_000_000))
    assert node.fingerprint_inputs(name="anna") != first


def test_a_file_that_is_not_there_is_named_before_the_run(pack: Pack, red: Any) -> None:
    node = pack.nodes["IDFSRLoadIdentity"]
    pack.run("IDFSRSaveIdentity", identity=red, name="anna")
    assert node.validate_inputs(name="anna") is True
    assert "no such file in models/idfsr/identities" in node.validate_inputs(name="ben")
    assert "../anna" in node.validate_inputs(name="../anna")
    assert node.GET_SCHEMA().inputs[0].options["options"] == ["anna"]
    pack.bridge.identity_path("anna").unlink()
    with pytest.raises(pack.core("errors").FileFormatError, match=r"anna.*no such file"):
        node.execute(name="anna")


def test_a_damaged_file_says_what_to_do(pack: Pack) -> None:
    (pack.bridge.identity_folder() / "broken.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(pack.core("errors").FileFormatError, match="encode or fit the photos of the person again"):
        pack.run("IDFSRLoadIdentity", name="broken")


# --- compare ----------------------------------------------------------------------------------------------------------


def test_each_picture_of_a_batch_is_compared(pack: Pack, red: Any, analyzer: Any) -> None:
    batch = picture(RED, [0, 0, 0], GREEN)
    mean, report, _ = pack.run("IDFSRCompareIdentity", identity=red, other=batch, analyzer=analyzer)
    assert mean == pytest.approx((1 - 1 / 3) / 2, abs=1e-5)
    assert report.splitlines()[1:] == ["picture 1: 1.000", "picture 3: -0.333", "picture 2: no face found"]
    assert pack.ui["images"]


def test_two_identities_need_no_analyzer(pack: Pack, red: Any) -> None:
    mean, report, _ = pack.run("IDFSRCompareIdentity", identity=red, other=red)
    assert mean == pytest.approx(1, abs=1e-5)
    assert report == "other: 1.000"


def test_bad_wiring_of_a_comparison_is_told_in_words(pack: Pack, red: Any, analyzer: Any) -> None:
    errors = pack.core("errors")
    with pytest.raises(errors.ArgumentError, match="analyzer: not connected"):
        pack.run("IDFSRCompareIdentity", identity=red, other=picture(RED))
    with pytest.raises(errors.ImageError, match="other: 0 pictures"):
        pack.run("IDFSRCompareIdentity", identity=red, other=picture(RED)[:0], analyzer=analyzer)
    with pytest.raises(errors.FaceNotFoundError, match="no face"):
        pack.run("IDFSRCompareIdentity", identity=red, other=picture([0, 0, 0]), analyzer=analyzer)
    other = pack.sockets.Analyzer(analyzer.finder, Colours(pack, "buffalo_l"), None, "buffalo_l")
    with pytest.raises(errors.EncoderMismatchError, match=r"colours 0123.*buffalo_l 0123.*connect the analyzer"):
        pack.run("IDFSRCompareIdentity", identity=red, other=picture(RED), analyzer=other)
    stranger = pack.run("IDFSREncodeIdentity", analyzer=other, references={"photos_1": picture(RED)})[0]
    with pytest.raises(errors.EncoderMismatchError, match=r"colours.*buffalo_l"):
        pack.run("IDFSRCompareIdentity", identity=red, other=stranger)

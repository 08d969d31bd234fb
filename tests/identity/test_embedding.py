"""The identity embedding as a value and as a file."""

import json
from dataclasses import FrozenInstanceError
from typing import NamedTuple

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from idfsr_core.errors import ArgumentError, EncoderMismatchError, FileFormatError, OutputError
from idfsr_core.identity.embedding import IdentityEmbedding, similarity, similarity_matrix
from idfsr_core.identity.glimpse import SmallViews


class _Encoder(NamedTuple):
    name: str
    hash: str


ENCODER = _Encoder("compact", "0123")
KEYS = {"encoder": "compact", "encoder_hash": "0123", "photos": 3, "kind": "pooled"}


def _unit(dim: int = 8, seed: int = 0) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(dim, generator=torch.Generator().manual_seed(seed)), dim=0)


def _made(**changes) -> IdentityEmbedding:
    return IdentityEmbedding(**{"vector": _unit(), **KEYS, **changes})


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    dim=st.integers(2, 600),
    seed=st.integers(0, 1000),
    photos=st.integers(1, 99),
    kind=st.sampled_from(["single", "pooled", "fitted"]),
    name=st.text(min_size=1, max_size=20),
)
def test_a_file_gives_back_what_was_written(tmp_path, dim, seed, photos, kind, name):
    vector = _unit(dim, seed) * (3.0 if kind == "fitted" else 1.0)
    made = _made(vector=vector, photos=photos, kind=kind, encoder=name, created_by="test 1")
    made.save(tmp_path / "a.safetensors")
    read = IdentityEmbedding.load(tmp_path / "a.safetensors")
    assert torch.equal(read.vector, made.vector)
    for field in ("encoder", "encoder_hash", "photos", "kind", "created_by"):
        assert getattr(read, field) == getattr(made, field)


def test_a_file_holds_how_the_photos_look_when_made_small_and_need_not(tmp_path):
    views = SmallViews(sides=(12, 16), vectors=torch.stack((_unit(seed=1), _unit(seed=2))))
    _made(small=views).save(tmp_path / "with.safetensors")
    read = IdentityEmbedding.load(tmp_path / "with.safetensors").small
    assert read is not None
    assert read.sides == views.sides
    assert torch.equal(read.vectors, views.vectors)
    _made().save(tmp_path / "without.safetensors")
    assert IdentityEmbedding.load(tmp_path / "without.safetensors").small is None


def test_small_views_that_do_not_fit_the_vector_are_refused(tmp_path):
    views = SmallViews(sides=(12,), vectors=_unit(9)[None])
    with pytest.raises(ArgumentError, match="of 9 numbers for a vector of 8"):
        _made(small=views)
    told = json.dumps({"version": 1, "created_by": "test", **KEYS})
    for sides in ("[12, 16]", '["a"]', "[[1]]", "3", "{"):
        metadata = {"format": "idfsr-identity", "identity": told, "small_sides": sides}
        save_file({"vector": _unit(), "small": _unit()[None]}, tmp_path / "a.safetensors", metadata)
        with pytest.raises(FileFormatError, match="encode or fit"):
            IdentityEmbedding.load(tmp_path / "a.safetensors")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.floats(0, 0.999), flips=st.lists(st.tuples(st.floats(0, 0.999), st.integers(1, 255)), max_size=4))
def test_a_damaged_file_is_told_or_still_whole_and_never_crashes(tmp_path, cut, flips):
    path = tmp_path / "a.safetensors"
    _made().save(path)
    data = bytearray(path.read_bytes())
    for place, change in flips:
        data[int(place * len(data))] ^= change
    path.write_bytes(data[: int(cut * len(data))] if not flips else data)
    read = _load_or_none(path)
    assert read is None or (flips and read.vector.isfinite().all())


def _load_or_none(path) -> IdentityEmbedding | None:
    try:
        return IdentityEmbedding.load(path)
    except FileFormatError:
        return None


def test_a_file_cut_anywhere_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    _made().save(path)
    data = path.read_bytes()
    for length in (0, 4, 8, 40, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(FileFormatError):
            IdentityEmbedding.load(path)


@pytest.mark.parametrize("told", [{}, {"format": "idfsr-bundle"}, {"format": "idfsr-identity"}])
def test_another_safetensors_file_is_refused(tmp_path, told):
    save_file({"vector": _unit()}, tmp_path / "b.safetensors", told)
    with pytest.raises(FileFormatError):
        IdentityEmbedding.load(tmp_path / "b.safetensors")


@pytest.mark.parametrize(
    "identity",
    [
        "[]",
        "{",
        '"text"',
        json.dumps({"version": 1}),
        json.dumps({"version": 2, **KEYS}),
        json.dumps({"version": 1, **KEYS, "photos": "three"}),
        json.dumps({"version": 1, **KEYS, "kind": "guessed"}),
        json.dumps({"version": 1, **KEYS, "surprise": 1}),
        json.dumps({"version": 1, **KEYS, "encoder": None}),
    ],
)
def test_metadata_that_make_no_sense_are_refused(tmp_path, identity):
    path = tmp_path / "c.safetensors"
    save_file({"vector": _unit()}, path, {"format": "idfsr-identity", "identity": identity})
    with pytest.raises(FileFormatError):
        IdentityEmbedding.load(path)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 0.0, 2.0])
def test_a_vector_that_makes_no_sense_is_refused(tmp_path, bad):
    path = tmp_path / "d.safetensors"
    told = {"format": "idfsr-identity", "identity": json.dumps({"version": 1, **KEYS})}
    save_file({"vector": torch.full((8,), bad)}, path, told)
    with pytest.raises(FileFormatError):
        IdentityEmbedding.load(path)


def test_a_missing_file_is_told_and_an_unwritable_place_too(tmp_path):
    with pytest.raises(FileFormatError, match="nowhere"):
        IdentityEmbedding.load(tmp_path / "nowhere.safetensors")
    with pytest.raises(OutputError):
        _made().save(tmp_path / "no" / "folder.safetensors")


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    _made().save(path)
    before = path.read_bytes()

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("idfsr_core.identity.embedding.save_file", full)
    with pytest.raises(OutputError, match="space"):
        _made(vector=_unit(seed=5)).save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_another_encoder_is_refused_and_both_are_named():
    _made().check_encoder(ENCODER)
    for other in (_Encoder("edge_xs", "0123"), _Encoder("compact", "9999")):
        with pytest.raises(EncoderMismatchError) as caught:
            _made().check_encoder(other)
        for part in ("compact", "0123", other.name, other.hash):
            assert part in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"vector": torch.ones(8)},
        {"vector": torch.ones(1)},
        {"vector": _unit()[None]},
        {"photos": 0},
        {"kind": "best"},
        {"encoder": ""},
    ],
)
def test_values_out_of_range_are_refused(changes):
    with pytest.raises(ArgumentError):
        _made(**changes)


def test_only_a_fitted_vector_may_have_another_length():
    fitted = _made(vector=_unit() * 1.7, kind="fitted")
    assert torch.allclose(fitted.direction, _unit())
    assert fitted.dim == 8


def test_the_value_is_frozen_and_its_own():
    vector = _unit()
    made = _made(vector=vector)
    vector[0] = 9
    assert made.vector[0] != 9
    with pytest.raises(FrozenInstanceError):
        made.photos = 4  # pyright: ignore[reportAttributeAccessIssue]


def test_similarity_is_the_cosine():
    first, second = torch.tensor([3.0, 4.0]), torch.tensor([4.0, 3.0])
    assert float(similarity(first, second)) == pytest.approx(0.96)
    matrix = similarity_matrix(torch.stack((first, second, -first)))
    assert torch.allclose(matrix.diagonal(), torch.ones(3))
    assert matrix[0, 1] == pytest.approx(0.96)
    assert matrix[0, 2] == pytest.approx(-1)
    assert similarity_matrix(first[None], torch.stack((first, second))).shape == (1, 2)

"""Training of the compact encoder, on tiny networks and drawn faces."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from idfsr_core.errors import ArgumentError, Cancelled, FileFormatError
from idfsr_core.identity.compact import CompactEncoder
from idfsr_core.identity.network import EncoderConfig
from idfsr_core.pretraining.encoder import (
    EncoderSettings,
    averaged_network,
    encoder_losses,
    read_checkpoint,
    train_encoder,
)
from idfsr_core.pretraining.encoder_blends import TO_FACE, fresh_blends
from idfsr_core.pretraining.encoder_data import EncoderPhotos, SpoilSettings, collect, face_matrices, spoil
from idfsr_core.runtime import Runtime

CONFIG = EncoderConfig(stem=4, widths=(8, 8, 8), depths=(1, 1, 1), head=16, dim=12)
KEYPOINTS = np.array([[80, 90], [112, 90], [96, 110], [82, 125], [110, 125]], np.float32)


class _Colours:
    """A teacher that looks at the mean colour of twelve places."""

    def embed_aligned(self, faces: np.ndarray) -> np.ndarray:
        return faces.reshape(-1, 2, 56, 2, 56, 3).mean((2, 4)).reshape(-1, 12).astype(np.float32) - 127.5


def _drawn(people: int = 4, photos: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    images = []
    for _ in range(people):
        quarters = rng.integers(0, 256, (2, 2, 3)).repeat(96, 0).repeat(96, 1)
        images += [
            np.clip(quarters + rng.normal(0, 10, quarters.shape), 0, 255).astype(np.uint8) for _ in range(photos)
        ]
    return np.stack(images), np.arange(people).repeat(photos)


@pytest.fixture(scope="module")
def photos() -> EncoderPhotos:
    images, people = _drawn()
    to_face = face_matrices(np.tile(KEYPOINTS, (len(images), 1, 1)))
    targets = _Colours().embed_aligned(images[:, 40:152, 40:152])
    targets /= np.linalg.norm(targets, axis=1, keepdims=True)
    return EncoderPhotos(images=images, to_face=to_face, targets=targets, person=people)


def _settings(**changes) -> EncoderSettings:
    values = {"config": CONFIG, "batch": 8, "steps": 6, "warm_up": 2, "save_every": 3, "average": 0.9}
    return EncoderSettings(**{**values, **changes})


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(path)[0]


def test_a_training_that_was_interrupted_ends_bit_for_bit_alike(photos, tmp_path):
    whole = _tensors(train_encoder(_settings(), photos, tmp_path / "whole"))

    def stop_after_four(done: int, _total: int, _image: object) -> None:
        if done == 4:
            raise Cancelled("run", "cancelled", "start again")

    with pytest.raises(Cancelled):
        train_encoder(_settings(), photos, tmp_path / "parts", runtime=Runtime(progress=stop_after_four))
    parts = _tensors(train_encoder(_settings(), photos, tmp_path / "parts"))
    assert parts.keys() == whole.keys()
    assert all(torch.equal(parts[name], whole[name]) for name in whole)


def test_the_network_learns_its_teacher(photos, tmp_path):
    settings = _settings(steps=60, warm_up=5, rate=1e-2, save_every=20, spoil=SpoilSettings(clean=1.0, grey=0.0))
    seen = []
    path = train_encoder(settings, photos, tmp_path, watch=lambda step, _path: seen.append(step))
    rows = list(csv.DictReader((tmp_path / "encoder-log.csv").open()))
    assert [int(row["step"]) for row in rows] == seen == [20, 40, 60]
    assert float(rows[-1]["cosine"]) < 0.6 * float(rows[0]["cosine"])
    images = torch.from_numpy(photos.images[::1]).permute(0, 3, 1, 2).float() / 255  # pyright: ignore
    found = CompactEncoder(averaged_network(path)).embed(images, torch.from_numpy(KEYPOINTS).expand(len(images), 5, 2))
    assert float((found.vectors * torch.from_numpy(photos.targets)).sum(1).mean()) > 0.5


def test_time_can_take_the_place_of_steps(photos, tmp_path):
    path = train_encoder(_settings(minutes=1e-4, steps=10**6), photos, tmp_path)
    told = read_checkpoint(path)[1]
    assert 1 <= told["step"] < 100
    assert told["seconds"] >= 0.006


def test_cancelling_leaves_no_half_file(photos, tmp_path):
    with pytest.raises(Cancelled):
        train_encoder(_settings(), photos, tmp_path, runtime=Runtime(cancelled=lambda: True))
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_or_foreign_checkpoint_is_refused(photos, tmp_path):
    path = train_encoder(_settings(steps=1, save_every=1), photos, tmp_path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FileFormatError):
        train_encoder(_settings(), photos, tmp_path)
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(FileFormatError, match="format"):
        averaged_network(path)


def test_the_losses_vanish_for_the_teacher_itself(photos):
    prototypes, rows = photos.prototypes()
    targets, prototypes, rows = (torch.from_numpy(v) for v in (photos.targets, prototypes, rows))
    perfect = encoder_losses(3 * targets, torch.ones(len(targets)), targets, prototypes, rows, 32.0)
    wrong = encoder_losses(-targets, torch.ones(len(targets)), targets, prototypes, rows, 32.0)
    for name in ("cosine", "relation", "quality"):
        assert float(getattr(perfect, name)) < 1e-5
    assert perfect.people < 0.5 < wrong.people
    assert wrong.cosine == pytest.approx(2)
    assert wrong.quality == pytest.approx(1)


def test_nobodys_faces_take_no_part_in_the_choice():
    unit = torch.eye(3)
    rows = torch.tensor([-1, 1, -1])
    parts = encoder_losses(unit.flip(0), torch.ones(3), unit, unit, rows, 10.0)
    assert parts.people == pytest.approx(float(torch.log1p(2 * torch.exp(torch.tensor(-10.0)))), abs=1e-5)
    assert encoder_losses(unit, torch.ones(3), unit, unit, torch.full((3,), -1), 10.0).people == 0


def test_spoiled_faces_repeat_with_the_seed_and_differ_without(photos):
    def face(seed: int) -> np.ndarray:
        return spoil(photos.images[0], photos.to_face[0], np.random.default_rng(seed), SpoilSettings())

    assert all(np.array_equal(face(seed), face(seed)) for seed in range(20))
    assert all(face(seed).shape == (112, 112, 3) and face(seed).dtype == np.uint8 for seed in range(20))
    assert len({face(seed).tobytes() for seed in range(20)}) == 20


def test_an_unspoiled_face_is_the_aligned_one(photos):
    settings = SpoilSettings(clean=1.0, shift=0, turn=0, zoom=0, grey=0)
    aligned = photos.images[0][40:152, 40:152].astype(float)
    near = 0
    for seed in range(12):  # half of them mirrored, some brighter
        face = spoil(photos.images[0], np.array([[1.0, 0, -40], [0, 1, -40]]), np.random.default_rng(seed), settings)
        near += min(np.abs(face - aligned).mean(), np.abs(face[:, ::-1] - aligned).mean()) < 0.5
    assert near >= 3


def test_small_sides_lose_detail(photos):
    def detail(side: tuple[float, float]) -> float:
        settings = SpoilSettings(clean=0.0, side=side, grey=0)
        faces = [spoil(photos.images[i], photos.to_face[i], np.random.default_rng(i), settings) for i in range(12)]
        return float(np.mean([np.abs(np.diff(face.astype(float), axis=1)).mean() for face in faces]))

    assert detail((8, 9)) < 0.5 * detail((100, 112))


def test_blends_are_as_the_seed_says_and_know_what_the_teacher_says(photos):
    teacher = _Colours()
    images, targets = fresh_blends(photos, teacher, 7, np.random.default_rng(3))
    again, _ = fresh_blends(photos, teacher, 7, np.random.default_rng(3))
    assert all(np.array_equal(one, other) for one, other in zip(images, again, strict=True))
    inner = np.stack([cv2.warpAffine(image, TO_FACE, (112, 112)) for image in images])
    expected = teacher.embed_aligned(inner)
    assert np.allclose(targets, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-5)


def test_blends_change_what_is_learned(photos, tmp_path):
    settings = _settings(steps=2, save_every=2)
    alone = averaged_network(train_encoder(settings, photos, tmp_path / "alone"))
    mixed = averaged_network(train_encoder(settings, photos, tmp_path / "mixed", teacher=_Colours()))
    again = averaged_network(train_encoder(settings, photos, tmp_path / "again", teacher=_Colours()))
    assert not torch.equal(alone.embedding.weight, mixed.embedding.weight)
    assert torch.equal(again.embedding.weight, mixed.embedding.weight)


def test_a_library_is_asked_photo_by_photo():
    from idfsr_core.pretraining.data import FaceLibrary

    images, people = _drawn(2, 2)
    coded = [cv2.imencode(".png", image[:, :, ::-1])[1].tobytes() for image in images]
    points = np.tile(KEYPOINTS, (4, 1, 1))
    library = FaceLibrary(photos=coded, identities=people, names=["a", "b"], keypoints=points)
    found = collect(library, _Colours(), batch=3)
    assert all(np.array_equal(found.images[i], images[i]) for i in range(4))
    assert np.allclose(np.linalg.norm(found.targets, axis=1), 1, atol=1e-5)
    assert (found.targets @ found.targets.T)[0, 1] > (found.targets @ found.targets.T)[0, 2]
    with pytest.raises(ArgumentError):
        collect(FaceLibrary(photos=[], identities=people[:0], names=[], keypoints=points[:0]), _Colours())


@pytest.mark.parametrize("changes", [{"batch": 1}, {"steps": 0}, {"average": 1.0}])
def test_impossible_settings_are_refused(changes):
    with pytest.raises(ArgumentError):
        _settings(**changes)


def test_photos_that_do_not_fit_together_are_refused(photos):
    fields = {"images": photos.images, "to_face": photos.to_face, "targets": photos.targets, "person": photos.person}
    with pytest.raises(ArgumentError):
        EncoderPhotos(**{**fields, "person": photos.person[1:]})
    with pytest.raises(ArgumentError, match="finite"):
        EncoderPhotos(**{**fields, "targets": photos.targets * np.nan})

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
from idfsr_core.pretraining.encoder import averaged_network, encoder_losses, read_checkpoint, train_encoder
from idfsr_core.pretraining.encoder_blends import INNER, TO_FACE, blend
from idfsr_core.pretraining.encoder_data import (
    EncoderPhotos,
    SpoilSettings,
    UnspoiledSettings,
    collect,
    spoil,
    unspoiled,
)
from idfsr_core.runtime import Runtime
from tests.pretraining.drawn import KEYPOINTS, Colours, Shows, drawn, drawn_photos, settings


@pytest.fixture(scope="module")
def photos() -> EncoderPhotos:
    return drawn_photos()


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(path)[0]


@pytest.mark.parametrize("teacher", [None, Colours(), Shows()])
def test_a_training_that_was_interrupted_ends_bit_for_bit_alike(photos, tmp_path, teacher):
    whole = _tensors(train_encoder(settings(steps=8), photos, tmp_path / "whole", teacher=teacher))

    def stop_after_five(done: int, _total: int, _image: object) -> None:
        if done == 5:  # two steps are lost; what follows are spoiled and steered faces
            raise Cancelled("run", "cancelled", "start again")

    runtime = Runtime(progress=stop_after_five)
    with pytest.raises(Cancelled):
        train_encoder(settings(steps=8), photos, tmp_path / "parts", teacher=teacher, runtime=runtime)
    parts = _tensors(train_encoder(settings(steps=8), photos, tmp_path / "parts", teacher=teacher))
    assert parts.keys() == whole.keys()
    assert all(torch.equal(parts[name], whole[name]) for name in whole)


def test_the_network_learns_its_teacher(photos, tmp_path):
    longer = settings(steps=60, warm_up=5, rate=1e-2, save_every=20, spoiled=0.0)
    seen = []
    path = train_encoder(longer, photos, tmp_path, watch=lambda step, _path: seen.append(step))
    rows = list(csv.DictReader((tmp_path / "encoder-log.csv").open()))
    assert [int(row["step"]) for row in rows] == seen == [20, 40, 60]
    assert float(rows[-1]["cosine"]) < 0.6 * float(rows[0]["cosine"])
    images = torch.from_numpy(photos.images[::1]).permute(0, 3, 1, 2).float() / 255  # pyright: ignore
    found = CompactEncoder(averaged_network(path)).embed(images, torch.from_numpy(KEYPOINTS).expand(len(images), 5, 2))
    assert float((found.vectors * torch.from_numpy(photos.targets)).sum(1).mean()) > 0.5


def test_time_can_take_the_place_of_steps(photos, tmp_path):
    path = train_encoder(settings(minutes=1e-4, steps=10**6), photos, tmp_path)
    told = read_checkpoint(path)[1]
    assert 1 <= told["step"] < 100
    assert told["seconds"] >= 0.006


def test_cancelling_leaves_no_half_file(photos, tmp_path):
    with pytest.raises(Cancelled):
        train_encoder(settings(), photos, tmp_path, runtime=Runtime(cancelled=lambda: True))
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_or_foreign_checkpoint_is_refused(photos, tmp_path):
    path = train_encoder(settings(steps=1, save_every=1), photos, tmp_path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FileFormatError):
        train_encoder(settings(), photos, tmp_path)
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


def test_an_unspoiled_face_is_the_aligned_one_or_its_mirror_image(photos):
    still = UnspoiledSettings(shift=0, turn=0, zoom=0, light=0)
    aligned, matrix = photos.images[0][40:152, 40:152], np.array([[1.0, 0, -40], [0, 1, -40]])
    faces = [unspoiled(photos.images[0], matrix, np.random.default_rng(seed), still) for seed in range(12)]
    mirrored = [np.array_equal(face, aligned[:, ::-1]) for face in faces]
    assert all(np.array_equal(face, aligned) or flag for face, flag in zip(faces, mirrored, strict=True))
    assert 0 < sum(mirrored) < 12


def test_unspoiled_faces_move_and_some_change_their_light(photos):
    lit, moved = (UnspoiledSettings(shift=0, turn=0, zoom=0, light=1), UnspoiledSettings(light=0))
    matrix = np.array([[1.0, 0, -40], [0, 1, -40]])
    for changes in (lit, moved):
        faces = {unspoiled(photos.images[0], matrix, np.random.default_rng(s), changes).tobytes() for s in range(12)}
        assert len(faces) > 5


def test_small_sides_lose_detail(photos):
    def detail(side: tuple[float, float]) -> float:
        sides = SpoilSettings(side=side, grey=0)
        faces = [spoil(photos.images[i], photos.to_face[i], np.random.default_rng(i), sides) for i in range(12)]
        return float(np.mean([np.abs(np.diff(face.astype(float), axis=1)).mean() for face in faces]))

    assert detail((8, 9)) < 0.5 * detail((100, 112))


def test_blends_are_as_the_seed_says(photos):
    images, again = ([blend(photos, np.random.default_rng(seed)) for seed in range(7)] for _ in range(2))
    assert all(np.array_equal(one, other) for one, other in zip(images, again, strict=True))
    assert len({image.tobytes() for image in images}) == 7
    assert all(np.array_equal(cv2.warpAffine(image, TO_FACE, (112, 112)), image[INNER, INNER]) for image in images)


def test_an_embedding_alone_teaches_too(photos, tmp_path):
    alone = averaged_network(train_encoder(settings(), photos, tmp_path / "alone"))
    asked = averaged_network(train_encoder(settings(), photos, tmp_path / "asked", teacher=Colours()))
    again = averaged_network(train_encoder(settings(), photos, tmp_path / "again", teacher=Colours()))
    assert not torch.equal(alone.embedding.weight, asked.embedding.weight)
    assert torch.equal(again.embedding.weight, asked.embedding.weight)
    rows = list(csv.DictReader((tmp_path / "asked" / "encoder-log.csv").open()))
    assert all(float(row["hints"]) == 0 for row in rows)


def test_a_library_is_asked_photo_by_photo():
    from idfsr_core.pretraining.data import FaceLibrary

    images, people = drawn(2, 2)
    coded = [cv2.imencode(".png", image[:, :, ::-1])[1].tobytes() for image in images]
    points = np.tile(KEYPOINTS, (4, 1, 1))
    library = FaceLibrary(photos=coded, identities=people, names=["a", "b"], keypoints=points)
    found = collect(library, Colours(), batch=3)
    assert all(np.array_equal(found.images[i], images[i]) for i in range(4))
    assert np.allclose(np.linalg.norm(found.targets, axis=1), 1, atol=1e-5)
    assert (found.targets @ found.targets.T)[0, 1] > (found.targets @ found.targets.T)[0, 2]
    with pytest.raises(ArgumentError):
        collect(FaceLibrary(photos=[], identities=people[:0], names=[], keypoints=points[:0]), Colours())


@pytest.mark.parametrize(
    "changes",
    [
        {"batch": 1},
        {"steps": 0},
        {"save_every": 0},
        {"average": 1.0},
        {"blends": 1.0},
        {"forced": 1.1},
        {"spoiled": -0.1},
        {"steered": 2.0},
        {"steered_faces": 1.5},
    ],
)
def test_impossible_settings_are_refused_by_name(changes):
    with pytest.raises(ArgumentError, match=next(iter(changes))):
        settings(**changes)


def test_the_parts_of_a_training_follow_one_another():
    plan = settings(forced=0.5, spoiled=0.3, steered=0.6, steered_faces=0.375, rate=1.0, warm_up=4)
    assert [plan.forcing(done) for done in (0, 0.25, 0.5, 0.9)] == [1, 0.5, 0, 0]
    assert [plan.spoiled_share(done) for done in (0, 0.29, 0.3, 0.9)] == [0, 0, 0.3, 0.3]
    assert [plan.steered_count(done, 8) for done in (0, 0.59, 0.6, 0.9)] == [0, 0, 3, 3]
    assert plan.steered_count(0.6, 2) == 2
    assert plan.steered_count(0.6, 0) == 0
    assert [plan.rate_at(step, 0) for step in (0, 1, 3, 9)] == [0.25, 0.5, 1, 1]
    assert plan.rate_at(9, 0.5) == pytest.approx(0.5)
    assert plan.rate_at(9, 1) == 0.02
    assert settings(forced=0.0).forcing(0) == 0


def test_people_count_when_nothing_is_fed_any_more():
    unit, rows = torch.eye(3), torch.tensor([0, 1, 2])
    parts = encoder_losses(unit.flip(0), torch.ones(3), unit, unit, rows, 10.0)
    plan = settings(forced=0.5, people_weight=0.1)
    later, before = parts.total(plan, 0.5), parts.total(plan, 0.49)
    assert float(later - before) == pytest.approx(0.1 * float(parts.people), rel=1e-4)


def test_photos_that_do_not_fit_together_are_refused(photos):
    fields = {"images": photos.images, "to_face": photos.to_face, "targets": photos.targets, "person": photos.person}
    with pytest.raises(ArgumentError):
        EncoderPhotos(**{**fields, "person": photos.person[1:]})
    with pytest.raises(ArgumentError, match="finite"):
        EncoderPhotos(**{**fields, "targets": photos.targets * np.nan})

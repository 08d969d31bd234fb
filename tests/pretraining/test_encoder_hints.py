"""Hints, what is fed, and what the batches of the encoder's training hold."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from idfsr_core.errors import ArgumentError
from idfsr_core.identity.network import EncoderNetwork
from idfsr_core.pretraining.encoder import train_encoder
from idfsr_core.pretraining.encoder_batches import Lesson, People, lesson
from idfsr_core.pretraining.encoder_hints import FeatureTeacher, ask, check_teacher, fed, hint_loss
from tests.pretraining.drawn import CONFIG, Colours, Shows, drawn_photos, settings


@pytest.fixture(scope="module")
def people() -> People:
    return People.of(drawn_photos(), "cpu")


@pytest.fixture
def network() -> EncoderNetwork:
    torch.manual_seed(3)
    return EncoderNetwork(CONFIG)


def _lesson(people: People, network: EncoderNetwork, teacher, done: float, step: int = 0, **changes) -> Lesson:
    return lesson(people, network, teacher, settings(**changes), step, done)


def test_hints_shrink_with_training(people, tmp_path):
    plan = settings(steps=60, save_every=20, rate=6e-3, steered=1.0)
    train_encoder(plan, people.photos, tmp_path, teacher=Shows())
    rows = list(csv.DictReader((tmp_path / "encoder-log.csv").open()))
    assert float(rows[-1]["hints"]) < 0.5 * float(rows[0]["hints"])
    assert float(rows[-1]["cosine"]) < float(rows[0]["cosine"])


def test_a_batch_is_wholly_fed_at_first_and_never_at_the_end(people, network):
    shares = []
    for done in (0.0, 0.25, 0.5, 0.9):
        batches = [_lesson(people, network, Shows(), done, step, forced=0.5, steered=1.0) for step in range(20)]
        shares.append(float(torch.cat([batch.fed for batch in batches]).float().mean()))
    assert shares[0] == 1
    assert 0.3 < shares[1] < 0.7
    assert shares[2:] == [0, 0]


def test_the_next_segment_sees_the_teachers_features_where_the_coin_says_so(network):
    torch.manual_seed(0)
    faces, coin = torch.rand(4, 3, 112, 112), torch.tensor([True, False, True])
    wanted = [features[:3] for features in Shows().answer(faces).features]
    alone, mixed = network.with_features(faces)[2], network.with_features(faces, fed(wanted, coin))[2]
    through = network.segments[1](wanted[0])
    assert torch.allclose(mixed[1][[0, 2]], through[[0, 2]], atol=1e-5)
    assert torch.allclose(mixed[1][[1, 3]], alone[1][[1, 3]], atol=1e-5)
    assert torch.equal(mixed[0], alone[0])
    assert fed(wanted, torch.zeros(3, dtype=torch.bool)) is None
    assert fed((), coin) is None


def test_what_is_fed_at_first_changes_what_is_learned(people, tmp_path):
    found = {}
    for forced in (0.0, 1.0):
        plan = settings(steps=2, forced=forced, spoiled=0.0, steered=1.0, people_weight=0.0)
        train_encoder(plan, people.photos, tmp_path / str(forced), teacher=Shows())
        found[forced] = (tmp_path / str(forced) / "encoder-log.csv").read_text()
    assert found[0.0].splitlines()[1].split(",")[5] != found[1.0].splitlines()[1].split(",")[5]


def test_spoiled_faces_get_no_hint_and_the_clean_photos_embedding(people, network):
    teacher, plan = Shows(), {"spoiled": 0.5, "steered": 1.0, "batch": 16}
    photos = people.photos
    seen = 0
    for step in range(4):
        batch = _lesson(people, network, teacher, 0.9, step, **plan)
        count = len(batch.hints[0])
        assert 0 < count < 16
        assert all(len(hint) == count for hint in batch.hints)
        said = teacher.answer(batch.faces)
        assert all(torch.allclose(h, f[:count], atol=1e-4) for h, f in zip(batch.hints, said.features, strict=True))
        assert torch.allclose(batch.targets[:count], said.embedding[:count], atol=1e-5)
        assert torch.allclose(batch.targets.norm(dim=1), torch.ones(16), atol=1e-5)
        for target, row in zip(batch.targets[count:], batch.rows[count:].tolist(), strict=True):
            known = torch.from_numpy(photos.targets[people.rows == row])
            assert row < 0 or (known == target).all(1).any()
            seen += row >= 0
    assert seen > 3


def test_a_spoiled_blend_has_the_embedding_of_the_blend_as_it_was(people, network):
    class Remembers(Shows):
        def answer(self, faces):
            self.faces = faces
            return super().answer(faces)

    teacher = Remembers()
    batch = _lesson(people, network, teacher, 0.9, spoiled=1.0, blends=0.5)
    assert batch.rows.tolist()[:4] == [-1] * 4
    assert len(teacher.faces) == 4
    assert torch.equal(batch.targets[:4], teacher.answer(teacher.faces).embedding)
    assert (batch.faces[:4] - teacher.faces).abs().mean() > 0.01


def test_nobody_is_asked_where_all_faces_are_spoiled_photos(people, network):
    batch = _lesson(people, network, Colours(), 0.9, spoiled=1.0, blends=0.0)
    assert batch.hints == ()
    assert (batch.rows >= 0).all()


def test_no_face_is_spoiled_at_first(people, network):
    batch = _lesson(people, network, Shows(), 0.0, spoiled=1.0)
    assert len(batch.hints[0]) == 8


def test_without_a_teacher_photos_keep_their_embeddings(people, network):
    batch = _lesson(people, network, None, 0.9)
    assert batch.hints == ()
    assert (batch.rows >= 0).all()
    known = torch.from_numpy(people.photos.targets)
    assert all((known == target).all(1).any() for target in batch.targets)


@pytest.mark.parametrize("teacher", [Colours(), Shows()])
def test_late_batches_hold_faces_after_a_step_and_the_teachers_answer_to_them(people, network, teacher):
    plan = {"spoiled": 0.0, "blends": 0.0, "batch": 8, "steered_faces": 0.375}
    early, late = (_lesson(people, network, teacher, done, **plan) for done in (0.4, 0.6))
    assert len(early.led) == len(early.led_targets) == 0
    assert torch.equal(late.faces, early.faces)
    change = (late.led - late.faces[:3]).square().mean((1, 2, 3)).sqrt()
    assert ((change > 0.001) & (change < 0.03)).all()
    assert torch.allclose(late.targets, ask(teacher, late.faces).embedding, atol=1e-5)
    assert torch.allclose(late.led_targets, ask(teacher, late.led).embedding, atol=1e-5)


def test_learner_and_teacher_take_turns_in_leading_where_the_teacher_has_gradients(people, network):
    class Counts(Shows):
        led = 0

        def embed(self, faces):
            self.led += 1
            return super().embed(faces)

    teacher = Counts()
    for step in range(20):
        _lesson(people, network, teacher, 0.9, step, spoiled=0.0)
    assert 4 < teacher.led < 16


def test_differences_shrink_with_training(people, tmp_path):
    plan = settings(steps=60, save_every=20, rate=6e-3, forced=0.0, steered=0.0, spoiled=0.0)
    train_encoder(plan, people.photos, tmp_path, teacher=Shows())
    rows = list(csv.DictReader((tmp_path / "encoder-log.csv").open()))
    assert 0 < float(rows[-1]["difference"]) < 0.8 * float(rows[0]["difference"])


def test_the_hint_loss_is_the_share_of_the_variance_that_is_missed():
    torch.manual_seed(0)
    wanted = [torch.randn(5, 7, 7, 4) * 10 + 3, torch.randn(5, 3, 3, 6)]
    assert hint_loss(wanted, wanted) == 0
    means = [w.mean((0, 1, 2)).expand_as(w) for w in wanted]
    assert float(hint_loss(means, wanted)) == pytest.approx(2, rel=1e-4)
    more = [torch.cat((m, torch.full_like(m, 1e6))) for m in means]
    assert float(hint_loss(more, wanted)) == pytest.approx(2, rel=1e-4), "faces without hints take no part"
    assert hint_loss(means, ()) == 0
    assert hint_loss(means, [w[:0] for w in wanted]) == 0


def test_a_teacher_with_an_embedding_alone_sees_bytes():
    torch.manual_seed(0)
    faces = torch.randint(0, 256, (3, 3, 112, 112)).float() / 255
    wanted = Colours().embed_aligned((faces * 255).round().byte().permute(0, 2, 3, 1).numpy())
    said = ask(Colours(), faces)
    assert said.features == ()
    assert torch.allclose(said.embedding, functional.normalize(torch.from_numpy(wanted)))
    assert isinstance(Shows(), FeatureTeacher)
    assert not isinstance(Colours(), FeatureTeacher)


def test_a_teacher_that_does_not_fit_is_refused(network, people, tmp_path):
    check_teacher(Shows(), network)
    check_teacher(Colours(), network)
    with pytest.raises(ArgumentError, match="outputs and strides"):
        check_teacher(Shows(replace(CONFIG, outputs=(8, 10))), network)
    with pytest.raises(ArgumentError, match="dim"):
        train_encoder(settings(), people.photos, tmp_path, teacher=Shows(replace(CONFIG, dim=16)))
    assert np.array_equal(people.rows, people.photos.person)

"""Sentences about what was done."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from idfsr_core.fitting import FittingPoint, FittingResult
from idfsr_core.identity.embedding import IdentityEmbedding
from idfsr_core.identity.pooling import pool
from idfsr_core.references import PreparedReferences, Reference
from idfsr_core.reports import describe_identity, report_encoding, report_fitting, shortened
from tests import tiny


class Encoder:
    name, hash = "compact", "0"


@pytest.fixture
def references() -> PreparedReferences:
    """Four photos: the third shows another person; a fifth had no face."""
    vectors = torch.eye(8)[[0, 0, 1, 0]]
    photos = [
        Reference(
            name=f"photo {number + 1}",
            crop=tiny.portrait(192),
            landmarks=torch.zeros(68, 2),
            embedding=vector,
            quality=0.5,
        )
        for number, vector in enumerate(vectors)
    ]
    pooled = pool(vectors, torch.full((4,), 0.5), Encoder(), names=[photo.name for photo in photos])
    return PreparedReferences(
        photos=tuple(photos[index] for index in pooled.report.kept),
        identity=pooled.identity,
        notes=("photo 5 left out: no face found", *pooled.report.notes()),
        seen=tuple(photos),
        pooling=pooled.report,
    )


def fitted(start: IdentityEmbedding, best_step: int, kept_out: str | None = "photo 4") -> FittingResult:
    values = [0.412, 0.455 if best_step else 0.4] if kept_out else [None, None]
    return FittingResult(
        identity=replace(start, kind="fitted") if best_step else start,
        curve=tuple(FittingPoint(step=10 * i, loss=None, similarity=value) for i, value in enumerate(values)),
        kept_out=kept_out,
        best_step=best_step,
        stopped="steps",
        steps=10,
    )


def test_encoding_names_each_photo_and_why_others_were_left_out(references: PreparedReferences) -> None:
    lines = report_encoding(references).splitlines()
    assert lines[0] == "pooled identity of 3 photos, by compact"
    assert lines[1] == "photo 1: weight 33%, quality 0.50, similarity with the others 1.00"
    assert not any(line.startswith("photo 3: ") for line in lines)
    assert lines[-2] == "photo 5 left out: no face found"
    assert lines[-1].startswith("photo 3 left out: shows another person")


def test_a_gain_is_told_as_before_and_after(references: PreparedReferences) -> None:
    told = report_fitting(fitted(references.identity, 10), references, references.identity)
    assert "photo 4" in told.splitlines()[0]
    assert "0.412 before, 0.455 after (step 10)" in told
    assert "photo 5 left out" in told
    assert "careful" not in told


def test_a_fit_that_brought_nothing_says_so(references: PreparedReferences) -> None:
    told = report_fitting(fitted(references.identity, 0), references, references.identity)
    assert told.startswith("fitting brought nothing")
    assert "the pooled identity is returned as it was" in told


def test_without_a_photo_kept_out_no_gain_is_claimed(references: PreparedReferences) -> None:
    told = report_fitting(fitted(references.identity, 10, kept_out=None), references, references.identity)
    assert "its gain is not known" in told


def test_photos_of_somebody_else_are_noticed(references: PreparedReferences) -> None:
    other = replace(references.identity, vector=torch.eye(8)[5])
    told = report_fitting(fitted(references.identity, 10), references, other)
    assert "another person than the identity (similarity 0.00)" in told


def test_an_identity_in_one_line(references: PreparedReferences) -> None:
    single = replace(references.identity, photos=1, kind="single")
    assert describe_identity(single) == "single identity of 1 photo, by compact"


def test_a_long_report_is_cut_for_a_node() -> None:
    assert shortened("a\nb\nc", 3) == "a\nb\nc"
    assert shortened("a\nb\nc\nd", 2) == "a\nb\nand 2 more"

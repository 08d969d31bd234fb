"""Figures as pictures: what is drawn where, and that nothing runs off the page."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from idfsr_core import drawing
from idfsr_core.drawing import draw_comparison, draw_fitting, draw_similarities
from idfsr_core.errors import ArgumentError
from idfsr_core.fitting import FittingPoint, FittingResult
from idfsr_core.identity.embedding import IdentityEmbedding
from idfsr_core.identity.pooling import PhotoVerdict, PoolingReport
from tests.tiny import portrait

BLUE, RED, GREEN, PAPER = drawing._BLUE, drawing._RED, drawing._GREEN, drawing._PAPER


def report(similarity: Tensor, left_out: tuple[int, ...] = ()) -> PoolingReport:
    photos = tuple(
        PhotoVerdict(name=f"photo {i + 1}", kept=i not in left_out, weight=0.1, quality=0.5, agreement=0.5)
        for i in range(len(similarity))
    )
    return PoolingReport(photos=photos, similarity=similarity)


def fitted(similarities: list[float | None], best_step: int, kept_out: str | None = "photo 2") -> FittingResult:
    vector = torch.nn.functional.normalize(torch.ones(8), dim=0)
    curve = [
        FittingPoint(step=10 * place, loss=0.5 / place if place else None, similarity=value)
        for place, value in enumerate(similarities)
    ]
    return FittingResult(
        identity=IdentityEmbedding(vector=vector, encoder="e", encoder_hash="0", photos=4, kind="pooled"),
        curve=tuple(curve),
        kept_out=kept_out,
        best_step=best_step,
        stopped="steps",
        steps=max(10 * (len(curve) - 1), 1),
    )


def pixels(image: Tensor) -> np.ndarray:
    assert image.shape[:2] == (1, 3)
    return (image[0].permute(1, 2, 0) * 255).round().numpy().astype(int)


def count(image: Tensor, colour: tuple[int, int, int]) -> int:
    return int((np.abs(pixels(image) - colour).max(-1) <= 2).sum())


def margin_is_empty(image: Tensor) -> bool:
    drawn = np.abs(pixels(image) - PAPER).max(-1) > 2
    drawn[3:-3, 3:-3] = False
    return not drawn.any()


@pytest.mark.parametrize("number", [1, 2, 7, 20, 40])
def test_a_table_holds_every_photo_within_the_page(number: int) -> None:
    image = draw_similarities(report(torch.full((number, number), 0.9)), [portrait(192)] * number)
    assert margin_is_empty(image)
    assert max(image.shape[-2:]) < 1300


def test_alike_is_blue_and_unlike_is_red() -> None:
    matrix = torch.tensor([[1.0, 0.9, -0.2], [0.9, 1.0, -0.2], [-0.2, -0.2, 1.0]])
    alike, mixed = draw_similarities(report(matrix[:2, :2])), draw_similarities(report(matrix))
    assert count(alike, RED) == 0
    assert count(mixed, RED) > 4 * 60 * 60  # four cells of about 90 x 90
    assert count(mixed, BLUE) > 3 * 60 * 60  # the diagonal


def test_a_photo_left_out_is_framed_and_has_no_weight() -> None:
    matrix = torch.full((4, 4), 0.9)
    kept, left_out = draw_similarities(report(matrix)), draw_similarities(report(matrix, left_out=(2,)))
    assert count(kept, RED) == 0
    assert count(left_out, RED) > 500


def test_faces_must_be_one_for_each_photo() -> None:
    with pytest.raises(ArgumentError, match="1 for 2 photos"):
        draw_similarities(report(torch.eye(2)), [portrait()])


def test_the_step_returned_is_marked_on_the_curve() -> None:
    gain, none = draw_fitting(fitted([0.4, 0.45, 0.42], 10)), draw_fitting(fitted([0.4, 0.35, 0.3], 0))
    assert count(gain, GREEN) > 100
    assert count(none, GREEN) == 0
    dots = np.argwhere(np.abs(pixels(gain) - GREEN).max(-1) <= 2)
    dot = dots[dots[:, 0] > 50]  # below the headline
    assert abs(float(dot[:, 1].mean()) - (78 + (640 - 78 - 24) / 2)) < 3  # step 10 of 20


@pytest.mark.parametrize("values", [[0.5], [0.5, 0.5, 0.5], [-0.1, 0.9], [0.81234, 0.81235, 0.81236]])
def test_any_course_of_a_fit_stays_on_the_page(values: list[float | None]) -> None:
    image = draw_fitting(fitted(values, 0, kept_out="a very long name of a photo " * 4))
    assert image.shape == (1, 3, 480, 640)
    assert margin_is_empty(image)


def test_without_a_photo_kept_out_there_is_the_loss_alone() -> None:
    image = draw_fitting(fitted([None, None, None], 20, kept_out=None))
    assert image.shape == (1, 3, 320, 640)
    assert (count(image, GREEN), count(image, BLUE)) == (0, 0)


def test_bars_are_as_long_as_the_similarity() -> None:
    lengths = [count(draw_comparison(["a"], [value]), BLUE) for value in (0.25, 0.75, 1.0, -0.3)]
    assert lengths[1] / lengths[0] == pytest.approx(3, rel=0.03)
    assert lengths[2] / lengths[0] == pytest.approx(4, rel=0.03)
    assert lengths[3] == 0


@pytest.mark.parametrize("number", [1, 7, 16, 17, 500])
def test_any_number_of_pictures_stays_on_a_page_of_moderate_size(number: int) -> None:
    names = [f"picture {place} 安娜" * (1 + place % 3) for place in range(number)]
    image = draw_comparison(names, [-1 + 2 * place / number for place in range(number)], [portrait(128)] * number)
    assert margin_is_empty(image)
    assert max(image.shape[-2:]) <= 1000


def test_a_comparison_needs_a_figure_for_each_name() -> None:
    with pytest.raises(ArgumentError, match="2 names and 1 figures"):
        draw_comparison(["a", "b"], [0.5])


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e3), st.integers(2, 8))
@example(1.0, 401.0, 2)
def test_ticks_are_few_round_values_within_the_range(low: float, span: float, wanted: int) -> None:
    ticks = drawing._ticks(low, low + span, wanted)
    assert 1 <= len(ticks) <= wanted + 1
    assert all(low - 1e-6 * span <= tick <= low + span * (1 + 1e-6) for tick in ticks)
    assert ticks == sorted(set(ticks))

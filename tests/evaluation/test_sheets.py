"""Contact sheets."""

from pathlib import Path

import numpy as np
import pytest

from idfsr_core.errors import ArgumentError
from idfsr_core.evaluation.harness import load_pictures
from idfsr_core.evaluation.protocol import EvaluationSettings
from idfsr_core.evaluation.sheets import Sheet, Tile, comparison, extremes
from idfsr_core.images import read_image
from tests.evaluation.people import study

SETTINGS = EvaluationSettings(people=4, references=2, scales=(16,), landmarks=("true",))


def test_a_sheet_shows_each_tile_in_its_place():
    colours = [np.full((8, 8, 3), value, np.uint8) for value in (10, 60, 110, 160)]
    rows = [[Tile(pixels=colours[0]), Tile(pixels=colours[1])], [Tile(pixels=colours[2]), Tile(pixels=colours[3])]]
    page = Sheet(headings=["a", "b"], rows=rows).draw()
    ys, xs = (100, 100 + 148), (68, 68 + 132)
    assert [[int(page[y, x, 0]) for x in xs] for y in ys] == [[10, 60], [110, 160]]


def test_rows_of_unequal_length_are_refused():
    with pytest.raises(ArgumentError, match="contact sheet"):
        Sheet(headings=["a", "b"], rows=[[Tile(pixels=np.zeros((8, 8, 3), np.uint8))]]).draw()


def test_worst_and_best_of_a_run_are_drawn(tmp_path: Path):
    run = study(tmp_path, SETTINGS)
    evaluation = run.run({})
    result = evaluation.get("composite_best", 16, "true")
    assert result is not None
    worst, best = extremes(result, "stub", 2)
    values = result.figures["identity.stub"]
    assert values[worst[0]] == min(values)
    assert values[best[0]] == max(values)
    assert not set(worst) & set(best)
    names = ("composite_random", "composite_best")
    pictures = {name: load_pictures(tmp_path, f"{name}-16x-true") for name in names}
    sheet = comparison(
        evaluation, pictures, run.subjects, worst, scale=16, landmarks="true", methods=names, encoder="stub"
    )
    sheet.save(tmp_path / "sheet.png")
    image = read_image(tmp_path / "sheet.png")
    assert image.shape[2] == 44 + 2 * 148
    with pytest.raises(ArgumentError, match="pooled"):
        comparison(
            evaluation, pictures, run.subjects, worst, scale=16, landmarks="true", methods=("pooled",), encoder="stub"
        )

"""Recipes: the shipped ones are sound, and faulty ones are refused with what is wrong."""

import json
from pathlib import Path

import pytest

from idfsr_core.errors import ArgumentError, FileFormatError
from idfsr_core.pretraining.recipes import Recipe, read_recipe, recipe_names


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_can_be_read_and_says_what_it_is_for(name: str):
    recipe = read_recipe(name)
    assert recipe.about.endswith(".")
    assert name == "compact" or recipe != Recipe(about=recipe.about), "it differs from the default"


def test_the_compact_model_is_the_default():
    recipe = read_recipe("compact")
    assert recipe == Recipe(about=recipe.about)


def test_the_paper_starts_from_pure_noise():
    assert (read_recipe("paper").denoiser.start, read_recipe("paper").denoiser.start_noise) == ("noise", 1.0)


def test_scales_are_numbers(tmp_path: Path):
    path = tmp_path / "one.json"
    path.write_text(json.dumps({"batches": {"scales": {"16": 1.0}}}))
    assert read_recipe(path).batches.scales == {16: 1.0}


@pytest.mark.parametrize(
    ("content", "error", "told"),
    [
        ('{"denoisers": {}}', FileFormatError, "denoisers"),
        ('{"losses": {"identiti": 1}}', FileFormatError, "identiti"),
        ('{"batches": {"scales": {"16": 0.5}}}', ArgumentError, "sum to 1"),
        ('{"denoiser": {"size": 130}}', ArgumentError, "multiple"),
        ("[1]", FileFormatError, "list"),
        ("{", FileFormatError, "JSON"),
    ],
)
def test_a_faulty_recipe_is_refused_by_name(tmp_path: Path, content: str, error: type[Exception], told: str):
    path = tmp_path / "own.json"
    path.write_text(content)
    with pytest.raises(error, match=told):
        read_recipe(path)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(FileFormatError, match="compact"):
        read_recipe("compct")

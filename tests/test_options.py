"""Options: all of them survive JSON, and none is accepted out of its range."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idfsr_core.errors import ArgumentError
from idfsr_core.options import FACE_CHOICES, MASK_MODES, SCHEDULERS, WARP_METHODS, RestoreOptions

OPTIONS = st.builds(
    RestoreOptions,
    steps=st.integers(1, 1000),
    seed=st.integers(0, 2**63 - 1),
    style_guidance=st.floats(0, 10),
    identity_guidance=st.floats(0, 10),
    consistency=st.floats(0, 1),
    scheduler=st.sampled_from(SCHEDULERS),
    mask_mode=st.sampled_from(MASK_MODES),
    mask_grow=st.floats(-0.5, 0.5),
    mask_feather=st.floats(0, 0.5),
    mask_forehead=st.floats(0, 2),
    warp_method=st.sampled_from(WARP_METHODS),
    reference_warp=st.sampled_from(WARP_METHODS),
    refine=st.booleans(),
    max_references=st.integers(1, 32),
    face=st.one_of(st.sampled_from(FACE_CHOICES), st.integers(0, 99)),
    box=st.none() | st.tuples(*[st.floats(-1e4, 1e4)] * 4),
    scale=st.none() | st.floats(1, 64),
    enlarge=st.none() | st.floats(1, 64),
    paste_feather=st.floats(0, 0.5),
)


@given(OPTIONS)
def test_options_round_trip_through_json(options: RestoreOptions) -> None:
    assert RestoreOptions.from_json(options.to_json()) == options


def test_every_option_is_drawn_above() -> None:
    drawn = RestoreOptions(box=(1, 2, 3, 4), scale=2.0, enlarge=3.0)
    changed = {name for name in RestoreOptions.__dataclass_fields__ if f"{name}=" in repr(drawn)}
    assert changed == set(RestoreOptions.__dataclass_fields__)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0),
        ("steps", 2.0),
        ("steps", True),
        ("seed", -1),
        ("style_guidance", float("nan")),
        ("identity_guidance", 11),
        ("consistency", 1.1),
        ("mask_mode", "medium"),
        ("warp_method", "spline"),
        ("scheduler", "ddim"),
        ("face", -1),
        ("face", "biggest"),
        ("box", (0, 0, float("inf"), 4)),
        ("scale", 0.5),
        ("max_references", 0),
    ],
)
def test_options_out_of_range_are_named(name: str, value: object) -> None:
    with pytest.raises(ArgumentError, match=f"^{name}: "):
        RestoreOptions(**{name: value})  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("text", ["", "[]", '{"steeps": 4}', "nul"])
def test_foreign_json_is_refused(text: str) -> None:
    with pytest.raises(ArgumentError, match="options"):
        RestoreOptions.from_json(text)

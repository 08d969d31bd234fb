"""Names of identities: any script is welcome, nothing leaves the folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idfsr_core.errors import ArgumentError
from idfsr_core.identity.naming import MOST_BYTES, SUFFIX, check_name, numbered


@pytest.mark.parametrize(
    ("given_name", "used"),
    [
        ("anna", "anna"),
        ("  Grandma 1962 ", "Grandma 1962"),
        ("anna.safetensors", "anna"),
        ("安娜", "安娜"),
        ("Zoe\u0308", "Zoë"),  # one letter, however it was typed
        ("a.b-c_d (2)", "a.b-c_d (2)"),
        ("نام\u200cها", "نام\u200cها"),
        ("console", "console"),
    ],
)
def test_ordinary_names_are_taken(given_name: str, used: str) -> None:
    assert check_name(given_name) == used
    assert check_name(used) == used


@pytest.mark.parametrize(
    "name",
    [
        "", "   ", ".safetensors", ".", "..", "../anna", "..\\anna", "/etc/passwd", "C:\\anna", "C:anna", "a/b",
        ".hidden", "anna.", "CON", "con", "nul.txt", "LPT1", "com¹", "a\x00b", "a\nb", "a*b", "a?", "a|b", 'a"b',
        "anna\u202egpj", "a\ud800", "x" * (MOST_BYTES + 1), "安" * 51,
    ],
)  # fmt: skip
def test_names_that_no_file_should_have_are_refused(name: str) -> None:
    with pytest.raises(ArgumentError, match="name: "):
        check_name(name)


@given(st.text(max_size=60))
def test_what_is_taken_is_one_file_in_the_folder(name: str) -> None:
    try:
        used = check_name(name)
    except ArgumentError:
        return
    path = Path("/models/identities") / f"{used}{SUFFIX}"
    assert path.parent == Path("/models/identities")
    assert path.resolve().name == path.name
    assert len(path.name.encode()) < 200
    assert check_name(used) == used


def test_a_taken_name_gets_the_next_free_number() -> None:
    assert numbered("anna", set()) == "anna"
    assert numbered("anna", {"Anna", "anna 3"}) == "anna 2"
    assert numbered("anna", {"anna", "anna 2", "ANNA 3"}) == "anna 4"

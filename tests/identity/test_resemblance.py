"""A fair comparison of faces that are not equally good."""

import pytest

from idfsr_core.identity.resemblance import LEAST_LEAD, Resemblance, compared, ranked


def test_a_poor_face_is_not_passed_over_for_its_quality() -> None:
    poor, good = Resemblance(0.475, 0.44), Resemblance(0.467, 0.564)
    assert ranked([good, poor]) == ([1, 0], True)
    assert ranked([good._replace(quality=1), poor._replace(quality=1)])[1] is False, "by the cosines nobody stands out"


def test_quality_does_not_make_a_stranger_the_person() -> None:
    assert ranked([Resemblance(0.2, 0.3), Resemblance(0.6, 0.9)]) == ([1, 0], True)
    assert Resemblance(0.3, 0.0).evidence == pytest.approx(0.3 / 0.1**0.5)
    assert Resemblance(-0.2).evidence == -0.2


@pytest.mark.parametrize(("lead", "clear"), [(LEAST_LEAD * 0.9, False), (LEAST_LEAD * 1.1, True)])
def test_the_first_must_lead(lead: float, clear: bool) -> None:
    assert ranked([Resemblance(0.3), Resemblance(0.3 + lead), Resemblance(0.1)]) == ([1, 0, 2], clear)


def test_one_face_alone_stands_out() -> None:
    assert ranked([Resemblance(-0.5)]) == ([0], True)


def test_a_lead_that_the_similarities_do_not_show_is_explained() -> None:
    assert compared(Resemblance(0.48, 0.4), Resemblance(0.47, 0.9)) == "similarity 0.48, next 0.47 of a clearer face"
    assert compared(Resemblance(0.46, 0.4), Resemblance(0.47, 0.9)).endswith("next 0.47 of a clearer face")


def test_a_lead_that_can_be_seen_needs_no_words() -> None:
    assert compared(Resemblance(0.6, 0.4), Resemblance(0.2, 0.9)) == "similarity 0.60, next 0.20"
    assert compared(Resemblance(0.5), Resemblance(0.49)) == "similarity 0.50, next 0.49"

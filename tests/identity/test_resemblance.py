"""Which of several faces is the person."""

import pytest

from idfsr_core.identity.resemblance import LEAST_LEAD, ranked


@pytest.mark.parametrize(("lead", "clear"), [(LEAST_LEAD * 0.9, False), (LEAST_LEAD * 1.1, True)])
def test_the_first_must_lead(lead: float, clear: bool) -> None:
    assert ranked([0.3, 0.3 + lead, 0.1]) == ([1, 0, 2], clear)


def test_one_face_alone_stands_out() -> None:
    assert ranked([-0.5]) == ([0], True)

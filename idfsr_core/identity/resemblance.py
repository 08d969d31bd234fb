"""Which of several faces is the person: a fair comparison of faces that are not equally good."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

LEAST_LEAD = 0.04
"""By which the likest face must lead in evidence. With 64 people never seen, three faces of 8 to 64 px at a time, the
likest was the right one in 47 % of those that led by less, and in 60 % or more above (docs/RESULTS.md)."""
_LEAST_QUALITY = 0.1


class Resemblance(NamedTuple):
    """How much one face looks like a person."""

    similarity: float  # cosine, -1..1
    quality: float = 1.0  # the cosine to be expected between this face's vector and that of a good photo of it, 0..1

    @property
    def evidence(self) -> float:
        """The similarity over the root of the quality.

        A poor face is less like everybody, the person included. The similarity over the quality would be its estimate
        for a good photo, but gives the poorest faces too much weight; the root lies between (ours).
        """
        return self.similarity / max(self.quality, _LEAST_QUALITY) ** 0.5


def ranked(faces: Sequence[Resemblance]) -> tuple[list[int], bool]:
    """The faces' numbers, the likest first, and whether that one stands out; one alone does."""
    order = sorted(range(len(faces)), key=lambda number: -faces[number].evidence)
    lead = faces[order[0]].evidence - faces[order[1]].evidence if len(order) > 1 else float("inf")
    return order, lead >= LEAST_LEAD


def compared(best: Resemblance, second: Resemblance) -> str:
    """Both similarities in words, and why the first leads where they do not show it."""
    close = best.similarity - second.similarity < LEAST_LEAD and second.quality > best.quality
    return f"similarity {best.similarity:.2f}, next {second.similarity:.2f}" + " of a clearer face" * close

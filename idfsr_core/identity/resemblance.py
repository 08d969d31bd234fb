"""Which of several faces is the person: the likest, if it leads."""

from __future__ import annotations

from collections.abc import Sequence

LEAST_LEAD = 0.04
"""By which the likest face must lead. With 64 people never seen, three faces of 8 to 64 px at a time, the likest was
the right one in two of three that led by less, and in 83 % or more above (docs/RESULTS.md)."""


def ranked(similarities: Sequence[float]) -> tuple[list[int], bool]:
    """The faces' numbers, the likest first, and whether that one stands out; one alone does."""
    order = sorted(range(len(similarities)), key=lambda number: -similarities[number])
    lead = similarities[order[0]] - similarities[order[1]] if len(order) > 1 else float("inf")
    return order, lead >= LEAST_LEAD

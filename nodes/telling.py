"""What nodes share towards the user: limits of their widgets, and texts about a batch, short enough to be read."""

from __future__ import annotations

from collections.abc import Sequence

SHOWN = 8
"""Pictures that a node shows of a batch; its outputs have them all."""
LARGEST_SEED = 2**53 - 1
"""What the browser's numbers hold exactly."""
_LINES = 20


def batch_text(sentences: Sequence[str], note: str = "") -> str:
    """One line a picture, with its number where there are several; equal neighbours share a line.

    Args:
        sentences: one for each picture.
        note: what goes for all, said first.
    """
    if len(sentences) == 1:
        return "; ".join(filter(None, (sentences[0], note)))
    runs: list[tuple[int, int, str]] = []
    for number, sentence in enumerate(sentences):
        if runs and runs[-1][2] == sentence:
            runs[-1] = (runs[-1][0], number, sentence)
        else:
            runs.append((number, number, sentence))
    lines = [f"{first}: {text}" if first == last else f"{first} to {last}: {text}" for first, last, text in runs]
    more = [f"and {len(lines) - _LINES} more"] if len(lines) > _LINES else []
    return "\n".join([*([note] if note else []), *lines[:_LINES], *more])

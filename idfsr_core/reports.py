"""What was done, in sentences: the text beside a picture or a value."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .identity.embedding import similarity
from .identity.pooling import PoolingSettings

if TYPE_CHECKING:
    from .comparing import Comparison
    from .fitting import FittingResult
    from .identity.embedding import IdentityEmbedding
    from .references import PreparedReferences


def describe_identity(identity: IdentityEmbedding) -> str:
    """One line: how it was made, of how many photos, by which encoder."""
    return f"{identity.kind} identity of {_count(identity.photos, 'photo')}, by {identity.encoder}"


def report_encoding(references: PreparedReferences) -> str:
    """The photos that went into an identity with quality, weight and agreement, and those left out, with the reason."""
    lines = [describe_identity(references.identity)]
    for photo in references.pooling.photos:
        if photo.kept:
            alone = len(references.photos) == 1
            agreement = "" if alone else f", similarity with the others {photo.agreement:.2f}"
            lines.append(f"{photo.name}: weight {photo.weight:.0%}, quality {photo.quality:.2f}{agreement}")
    return "\n".join([*lines, *references.notes])


def report_fitting(result: FittingResult, references: PreparedReferences, start: IdentityEmbedding) -> str:
    """What a fit brought on the photo kept out, how it ended, and what to be wary of.

    Args:
        result: of :func:`idfsr_core.fitting.fit_identity`.
        references: the photos.
        start: the identity that the fit began with.
    """
    likeness = float(similarity(start.vector, references.identity.vector))
    lines = [_verdict(result), f"{_count(result.steps, 'step')}, ended by: {result.stopped}"]
    if likeness < PoolingSettings().stranger:
        lines.append(f"careful: the photos seem to show another person than the identity (similarity {likeness:.2f})")
    return "\n".join([*lines, *references.notes])


def _verdict(result: FittingResult) -> str:
    """The first sentence: gained, gained nothing, or not known."""
    if result.before is None or result.after is None:
        return (
            "no photo was kept out of the fit (that takes four or more), so its gain is not known;"
            f" the vector of step {result.best_step} is returned"
        )
    if not result.best_step:
        kind = result.identity.kind
        return (
            f"fitting brought nothing: no step restores {result.kept_out}, which was kept out, better than the start"
            f" (similarity {result.before:.3f}); the {kind} identity is returned as it was"
        )
    gain = f"{result.before:.3f} before, {result.after:.3f} after"
    return f"similarity of {result.kept_out}, kept out of the fit, when restored: {gain} (step {result.best_step})"


def report_comparison(comparison: Comparison) -> str:
    """Each similarity, the mean of several first, then the pictures that have no face."""
    lines = [f"{name}: {value:.3f}" for name, value in zip(comparison.names, comparison.similarities, strict=True)]
    if len(lines) > 1:
        low, high = min(comparison.similarities), max(comparison.similarities)
        lines.insert(0, f"mean {comparison.mean:.3f}, from {low:.3f} to {high:.3f}, of {_count(len(lines), 'picture')}")
    return "\n".join([*lines, *comparison.notes])


def shortened(text: str, most: int = 20) -> str:
    """The first lines of a report, and how many more there are: for a node, which has little room."""
    lines = text.splitlines()
    more = [f"and {len(lines) - most} more"] if len(lines) > most else []
    return "\n".join([*lines[:most], *more])


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + "s" * (number != 1)

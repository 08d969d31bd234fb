"""Which face of each picture of a batch is meant, with a sentence for each; and what to do where there is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .errors import AmbiguousFaceError, ArgumentError, FaceNotFoundError
from .face_rule import INDEX, LARGEST, LEFT, LIKE, FaceRule
from .faces.face import Face
from .faces.selection import left_to_right, select_face
from .faces.tracking import follow, smooth_faces
from .identity.resemblance import ranked

_TOLD = 4  # pictures whose trouble an error tells one by one

Likeness = Callable[[int, Face], float]
"""How much a face, found in the picture of that number, looks like the person looked for."""


@dataclass(frozen=True, kw_only=True)
class ChosenFaces:
    """One face, or None, of each picture, and why."""

    faces: tuple[Face | None, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class _Choice:
    """What the rule says of one picture alone."""

    face: Face | None
    reason: str
    likeness: float = 0.0
    ambiguous: bool = False


def choose_faces(
    pictures: Sequence[Sequence[Face]],
    rule: FaceRule,
    likeness: Likeness | None = None,
    found_by: str = "",
) -> ChosenFaces:
    """Choose one face of each picture.

    Args:
        pictures: all faces of each picture.
        rule: which one, and what to do where there is none.
        likeness: needed by "like identity".
        found_by: how the faces were looked for, for the error.

    Raises:
        FaceNotFoundError: a picture has no such face, and the rule requires one; the message lists the pictures.
        AmbiguousFaceError: "like identity" with several faces of which none stands out, where a face is required and
            the pictures are no frames (frames follow the face from where it is surest).
        ArgumentError: "like identity" without ``likeness``.
    """
    if rule.how == LIKE and likeness is None:
        raise ArgumentError("identity", "not connected", 'connect an identity, or choose another "how"')
    choices = [_choose(number, faces, rule, likeness) for number, faces in enumerate(pictures)]
    chosen = _over_frames(pictures, choices, rule) if rule.smooth > 0 else _one_by_one(choices)
    if rule.required:
        _require(chosen, choices, rule, found_by)
    return chosen


def _one_by_one(choices: Sequence[_Choice]) -> ChosenFaces:
    return ChosenFaces(faces=tuple(c.face for c in choices), reasons=tuple(c.reason for c in choices))


def _choose(number: int, faces: Sequence[Face], rule: FaceRule, likeness: Likeness | None) -> _Choice:
    if not faces:
        return _Choice(None, "no face found")
    count = f"{len(faces)} face" + "s" * (len(faces) != 1)
    if rule.how == LARGEST:
        return _Choice(select_face(faces, "largest"), f"largest of {count}")
    if rule.how == LIKE and likeness is not None:
        return _likest(faces, [likeness(number, face) for face in faces], rule, count)
    row = left_to_right(faces) if rule.how == LEFT else list(faces)
    if not -len(row) <= rule.index < len(row):
        return _Choice(None, f"no face number {rule.index}: there are {len(row)}, 0 to {len(row) - 1}")
    counted = " from the left" if rule.how == LEFT else ""
    return _Choice(row[rule.index], f"number {rule.index} of {count}{counted}")


def _likest(faces: Sequence[Face], seen: Sequence[float], rule: FaceRule, count: str) -> _Choice:
    order, clear = ranked(seen)
    best = seen[order[0]]
    if best < rule.least:
        return _Choice(None, f"nobody like the identity: the likest of {count} has similarity {best:.2f}", best)
    if len(faces) == 1:
        return _Choice(faces[0], f"the only face, similarity {best:.2f}", best)
    lead = f"similarity {best:.2f}, next {seen[order[1]]:.2f}"
    if clear:
        return _Choice(faces[order[0]], f"most like the identity of {count} ({lead})", best)
    return _Choice(faces[order[0]], f"most like the identity of {count}, but it hardly leads ({lead})", best, True)


def _over_frames(pictures: Sequence[Sequence[Face]], choices: Sequence[_Choice], rule: FaceRule) -> ChosenFaces:
    """Follow one face instead of choosing in each frame alone, then smooth it."""
    start = None
    if rule.how == LIKE and any(choice.face is not None for choice in choices):
        start = max(range(len(choices)), key=lambda i: (choices[i].face is not None, choices[i].likeness))
    followed = follow(pictures, [choice.face for choice in choices], start)
    reasons = []
    for number, (face, choice) in enumerate(zip(followed, choices, strict=True)):
        if face is None:
            reasons.append("not found in this frame" if choice.face is not None else choice.reason)
        elif face is choice.face:
            reasons.append(choice.reason)
        else:
            reasons.append(f"followed from frame {number - 1 if start is None or number > start else number + 1}")
    smooth = smooth_faces(followed, rule.smooth)
    for number, (before, after) in enumerate(zip(followed, smooth, strict=True)):
        if before is None and after is not None:
            reasons[number] = "not found in this frame; placed between its neighbours"
    return ChosenFaces(faces=tuple(smooth), reasons=tuple(reasons))


def _require(chosen: ChosenFaces, choices: Sequence[_Choice], rule: FaceRule, found_by: str) -> None:
    total = len(choices)
    missing = {n: chosen.reasons[n] for n in range(total) if chosen.faces[n] is None}
    if missing:
        by = f" (looked for {found_by})" if found_by else ""
        raise FaceNotFoundError("faces", f"{_where(missing, total)}{by}", _remedy(choices, rule))
    unsure = {n: choice.reason for n, choice in enumerate(choices) if choice.ambiguous}
    if unsure and rule.smooth == 0:
        remedy = 'choose by "index" or "left to right", or encode more photos of the person'
        raise AmbiguousFaceError("faces", _where(unsure, total), remedy)


def _where(pictures: dict[int, str], total: int) -> str:
    """What is wrong with which pictures."""
    if total == 1:
        return pictures[0]
    told = "; ".join(f"picture {number}: {reason}" for number, reason in list(pictures.items())[:_TOLD])
    more = f"; and {len(pictures) - _TOLD} more" if len(pictures) > _TOLD else ""
    return f"{len(pictures)} of {total} pictures: {told}{more}"


def _remedy(choices: Sequence[_Choice], rule: FaceRule) -> str:
    through = 'set "if_none" to "pass through"'
    if all(choice.face is None for choice in choices) and rule.how == LARGEST:
        return "lower the threshold of Detect Faces, or give it a BOUNDING_BOX or a MASK where the face is"
    if rule.how in (INDEX, LEFT):
        return f"use a number that Detect Faces shows, lower its threshold, or {through}"
    if rule.how == LIKE and rule.least > -1:
        return f"lower least_similarity or the threshold of Detect Faces, or {through}"
    return f"lower the threshold of Detect Faces, give it a BOUNDING_BOX or a MASK, or {through}"

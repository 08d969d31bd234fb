"""One face of each picture of a batch."""

import pytest

from idfsr_core.batch_choice import INDEX, LARGEST, LEFT, LIKE, FaceRule, choose_faces
from idfsr_core.errors import AmbiguousFaceError, ArgumentError, FaceNotFoundError
from idfsr_core.faces.face import Face
from tests.tiny import stub_face

SIZE = (400, 200)
LEFT_FACE, MIDDLE, RIGHT = (stub_face(x, 100, w, SIZE) for x, w in ((60, 40), (200, 60), (340, 30)))
GIVEN = [MIDDLE, RIGHT, LEFT_FACE]


def like(values: dict[int, float]):
    """Similarity by the middle of the box."""
    return lambda number, face: values[round(float(face.box[0] + face.box[2]) / 2)]


@pytest.mark.parametrize(
    ("rule", "expected", "words"),
    [
        (FaceRule(), MIDDLE, "largest of 3 faces"),
        (FaceRule(how=LEFT), LEFT_FACE, "number 0 of 3 faces from the left"),
        (FaceRule(how=LEFT, index=-1), RIGHT, "from the left"),
        (FaceRule(how=INDEX, index=0), MIDDLE, "number 0 of 3 faces"),
        (FaceRule(how=INDEX, index=1), RIGHT, "number 1"),
    ],
)
def test_rules(rule: FaceRule, expected: Face, words: str) -> None:
    chosen = choose_faces(
        [GIVEN, [expected]], rule if rule.index != 1 else FaceRule(how=INDEX, index=1, required=False)
    )
    assert chosen.faces[0] is expected
    assert words in chosen.reasons[0]


def test_the_likest_is_taken_and_by_how_much_it_leads_is_said() -> None:
    chosen = choose_faces([GIVEN], FaceRule(how=LIKE), like({60: 0.1, 200: 0.2, 340: 0.6}))
    assert chosen.faces == (RIGHT,)
    assert "similarity 0.60, next 0.20" in chosen.reasons[0]


def test_a_stranger_is_not_the_person() -> None:
    rule = FaceRule(how=LIKE, least=0.3, required=False)
    chosen = choose_faces([GIVEN, [LEFT_FACE]], rule, like({60: 0.1, 200: 0.2, 340: 0.6}))
    assert chosen.faces == (RIGHT, None)
    assert "similarity 0.10" in chosen.reasons[1]
    with pytest.raises(FaceNotFoundError, match="least_similarity"):
        choose_faces([[LEFT_FACE]], FaceRule(how=LIKE, least=0.3), like({60: 0.1}))


def test_where_nobody_stands_out_the_user_is_asked() -> None:
    values = like({60: 0.1, 200: 0.31, 340: 0.3})
    with pytest.raises(AmbiguousFaceError, match=r"hardly leads.*0\.31, next 0\.30"):
        choose_faces([GIVEN], FaceRule(how=LIKE), values)
    passing = choose_faces([GIVEN], FaceRule(how=LIKE, required=False), values)
    assert passing.faces == (MIDDLE,)
    assert "hardly leads" in passing.reasons[0]


def test_a_likeness_is_needed() -> None:
    with pytest.raises(ArgumentError, match="connect an identity"):
        choose_faces([GIVEN], FaceRule(how=LIKE))


def test_pictures_without_a_face_are_told_with_what_to_do() -> None:
    with pytest.raises(FaceNotFoundError) as caught:
        choose_faces([[], GIVEN, [], []], FaceRule(), found_by="by compact at threshold 0.6")
    text = str(caught.value)
    assert text.startswith("faces: 3 of 4 pictures: picture 0: no face found; picture 2:")
    assert "threshold 0.6" in text
    assert "pass through" in text
    passing = choose_faces([[], GIVEN, [], []], FaceRule(required=False))
    assert passing.faces == (None, MIDDLE, None, None)
    assert passing.reasons[0] == "no face found"


def test_a_single_picture_without_a_face_is_told_where_to_say_it() -> None:
    with pytest.raises(FaceNotFoundError, match=r"faces: no face found.*BOUNDING_BOX") as caught:
        choose_faces([[]], FaceRule())
    assert "picture" not in str(caught.value).split(";")[0]


def test_long_lists_of_trouble_are_cut() -> None:
    with pytest.raises(FaceNotFoundError, match=r"9 of 10 pictures.*; and 5 more"):
        choose_faces([GIVEN, *[[]] * 9], FaceRule())


def test_an_index_beyond_the_count_says_the_count() -> None:
    with pytest.raises(FaceNotFoundError, match="no face number 5: there are 3, 0 to 2"):
        choose_faces([GIVEN], FaceRule(how=INDEX, index=5))
    assert choose_faces([GIVEN], FaceRule(how=INDEX, index=5, required=False)).faces == (None,)


def test_frames_follow_one_face_and_say_so() -> None:
    grown = [stub_face(60, 100, w, SIZE) for w in (50, 50, 50)]
    other = [stub_face(300, 100, w, SIZE) for w in (30, 70, 30)]
    frames = [list(pair) for pair in zip(grown, other, strict=True)]
    alone = choose_faces(frames, FaceRule())
    assert alone.faces == (grown[0], other[1], grown[2])
    followed = choose_faces(frames, FaceRule(smooth=1))
    assert [round(float(f.keypoints[:, 0].mean())) for f in followed.faces if f] == [60, 60, 60]
    assert followed.reasons[1] == "followed from frame 0"


def test_frames_follow_the_person_from_where_they_are_surest() -> None:
    """In frame 0 the stranger looks more like the person; frame 2 leaves no doubt."""
    frames = [[LEFT_FACE, RIGHT]] * 3
    values = [{60: 0.3, 340: 0.2}, {60: 0.2, 340: 0.25}, {60: 0.1, 340: 0.7}]
    rule = FaceRule(how=LIKE, smooth=1)
    chosen = choose_faces(frames, rule, lambda number, face: like(values[number])(number, face))
    assert [round(float(f.keypoints[:, 0].mean())) for f in chosen.faces if f] == [340, 340, 340]
    assert chosen.reasons[0] == "followed from frame 1"


def test_a_gap_between_frames_is_filled_also_where_a_face_is_required() -> None:
    chosen = choose_faces([[LEFT_FACE], [], [LEFT_FACE]], FaceRule(smooth=1))
    assert chosen.faces[1] is not None
    assert "between its neighbours" in chosen.reasons[1]
    with pytest.raises(FaceNotFoundError, match="picture 2: no face found"):
        choose_faces([[LEFT_FACE], [LEFT_FACE], []], FaceRule(smooth=1))


@pytest.mark.parametrize("wrong", [{"how": "tallest"}, {"least": 2}, {"smooth": -1}])
def test_rules_out_of_range_are_refused(wrong: dict) -> None:
    with pytest.raises(ArgumentError):
        FaceRule(**wrong)


def test_no_pictures_no_faces() -> None:
    assert choose_faces([], FaceRule()).faces == ()
    assert choose_faces([], FaceRule(smooth=2, how=LARGEST)).faces == ()

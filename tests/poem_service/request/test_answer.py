"""A model's text is read, repaired where that is safe, and refused where it is not an answer."""

import json

import pytest

from poem.composer import compose
from poem.game import builtin_game
from poem.hand import Answer
from poem.shape import encode
from poem_service.errors import AnswerError, Reason
from poem_service.request.answer import RuleError, check_answer
from support.served import a_hand

HAND = a_hand(5)
TITLES = builtin_game().deck.catchphrases[:20]
GOOD = compose(builtin_game(), HAND, TITLES, 1).answer


@pytest.mark.parametrize(
    ("text", "repairs"),
    [
        (encode(GOOD), ()),
        (json.dumps({"title": GOOD.title, "poem": GOOD.poem}, indent=2), ()),
        (f"```json\n{encode(GOOD)}\n```", ("unwrapped",)),
        (f"<think>題は</think>はい。{encode(GOOD)}", ("unwrapped",)),
        (encode(Answer(f"3. 「{GOOD.title}」", GOOD.poem)), ("title",)),
        (encode(Answer(GOOD.title, GOOD.poem.replace("\n", " \n\n "))), ("spacing",)),
        (encode(Answer(GOOD.title, GOOD.poem.replace("。", "｡") + "\n")), ("spacing",)),
    ],
)
def test_an_answer_is_read_and_repaired_where_that_is_safe(text: str, repairs: tuple[str, ...]) -> None:
    found = check_answer(text, HAND, TITLES)
    assert (found.answer, found.repairs) == (GOOD, repairs)


@pytest.mark.parametrize("text", ["", "{}", "null", "[1]", encode(GOOD)[:-3], '{"title":1,"poem":2}', "[" * 100_000])
def test_what_is_no_answer_is_refused(text: str) -> None:
    with pytest.raises(AnswerError) as refusal:
        check_answer(text, HAND, TITLES)
    assert refusal.value.reason is Reason.MALFORMED


def test_an_answer_against_the_rules_names_them() -> None:
    with pytest.raises(RuleError) as refusal:
        check_answer(encode(Answer("別の題", GOOD.poem + "あなた。")), HAND, TITLES)
    assert {"title", "address"} <= {violation.rule for violation in refusal.value.violations}

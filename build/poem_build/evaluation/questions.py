"""Poems and hands → what a language model is asked as a judge, and what its answer says.

Three questions: which of two poems for one hand is better, in both orders; which five of fifteen realities a poem
hides; and the game's rubric. A question's key follows from its text, so the same is never asked twice.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from poem.hand import PAIRS, Answer, Hand
from poem.prompt import pair_line
from poem_build.evaluation.concealment import LineUp
from poem_build.evaluation.counted import RUBRIC
from poem_build.store.digest import digest_of
from poem_build.teacher.asking import AnswerError
from poem_build.teacher.protocol import Ask

PROMPTS = Path(__file__).parent / "prompts"
ASPECTS = ("overall", "unity", "voice")
FIRST, SECOND, SAME = "甲", "乙", "同"
CHARACTERS = 60
"""Of an answer, its JSON included."""
Verdict = Mapping[str, Any]


def duel(hand: Hand, first: Answer, second: Answer) -> Ask:
    """Which of the two is better, by aspect."""
    user = f"{_cards(hand)}\n\n【{FIRST}】\n{_text(first)}\n\n【{SECOND}】\n{_text(second)}"
    choice = {"type": "string", "enum": [FIRST, SECOND, SAME]}
    return _ask("duel", user, dict.fromkeys(ASPECTS, choice))


def guess(poem: str, there: LineUp) -> Ask:
    """Which five of the fifteen the poem hides."""
    lines = "\n".join(f"{n}. {card.condition_text}" for n, card in enumerate(there.cards, 1))
    numbers = {"type": "array", "items": {"type": "integer"}, "minItems": PAIRS, "maxItems": PAIRS}
    return _ask("guess", f"【詩】\n{poem}\n\n【現実】\n{lines}", {"numbers": numbers})


def rubric(hand: Hand, answer: Answer) -> Ask:
    """How many points of each kind the poem has."""
    return _ask("rubric", f"{_cards(hand)}\n\n【詩】\n{_text(answer)}", {name: {"type": "integer"} for name in RUBRIC})


def read(ask: Ask, text: str) -> Verdict:
    """What an answer says. Raises `AnswerError` for one that says nothing, or too much."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise AnswerError(f"JSONではありません: {error}") from error
    names = ask.schema["properties"].keys()
    if not isinstance(found, dict) or found.keys() != names:
        raise AnswerError(f"{'、'.join(names)} を持つJSONを一つだけ答えてください")
    if "numbers" in found:
        _check_numbers(found["numbers"])
    for name, value in found.items():
        if name in RUBRIC and "overall" not in found:
            _check_points(name, value)
        elif name != "numbers" and value not in (FIRST, SECOND, SAME):
            raise AnswerError(f"{name} は {FIRST}・{SECOND}・{SAME} のどれかです")
    return found


def prompts() -> str:
    """All that the questions begin with."""
    return "\0".join(_prompt(name) for name in ("duel", "guess", "rubric"))


def _check_numbers(value: Any) -> None:
    whole = isinstance(value, list) and all(isinstance(n, int) and 0 < n <= 3 * PAIRS for n in value)
    if not whole or len(set(value)) != PAIRS:
        raise AnswerError(f"numbers には1から{3 * PAIRS}までの異なる番号が{PAIRS}つ要ります")


def _check_points(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= RUBRIC[name]:
        raise AnswerError(f"{name} は0から{RUBRIC[name]}までの整数です")


def _ask(name: str, user: str, properties: Mapping[str, Any]) -> Ask:
    system = _prompt(name)
    schema = {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }
    return Ask(digest_of([name, system, user])[:32], system, user, schema, 0)


def _cards(hand: Hand) -> str:
    return "\n".join(["【カード】", *(f"{n}. {pair_line(pair)}" for n, pair in enumerate(hand.pairs, 1))])


def _text(answer: Answer) -> str:
    return f"『{answer.title}』\n{answer.poem}"


def _prompt(name: str) -> str:
    return (PROMPTS / f"{name}.txt").read_text("utf-8").rstrip("\n")

"""What every engine shares: the ask, its bound, and what a GGUF says of its training."""

from random import Random

import pytest

from poem.game import builtin_game
from poem.hand import draw_candidates
from poem_service.engine.protocol import ANSWER_BYTES_MAX, THOUGHT_BYTES_MAX, Ask, Bound, Training
from poem_service.errors import AnswerError
from support.served import a_hand


def test_the_ask_is_the_game_s_own_prompt() -> None:
    game = builtin_game()
    ask = Ask.of(game, a_hand(), draw_candidates(game.deck, Random(1)), 7)
    assert ask.prompt.system == game.instructions
    assert all(title in ask.prompt.user for title in ask.candidates)


def test_what_a_gguf_does_not_say_is_not_known() -> None:
    said = {"mansion_poem.prompt_version": "abc", "mansion_poem.verdict": 3, "general.name": "x"}
    assert Training.of(said) == Training(prompt_version="abc")
    said = {"mansion_poem.verdict": "below-composer", "mansion_poem.forced": "eval: gate.eval_pass"}
    assert Training.of(said) == Training(verdict="below-composer", forced="eval: gate.eval_pass")


@pytest.mark.parametrize(("start", "limit"), [("{", ANSWER_BYTES_MAX), (" <think>", THOUGHT_BYTES_MAX)])
def test_an_answer_that_runs_on_is_none(start: str, limit: int) -> None:
    bound = Bound()
    bound.add(start)
    bound.add("あ" * (limit - len(start)))
    with pytest.raises(AnswerError, match=f"over {limit} characters"):
        bound.add("あ")

"""What a player gets: three tries like the service's, and sentences that are whole."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from poem.game import builtin_game
from poem.outline import encode_outline, outline_of, outline_schema
from poem.prompt import render_outlined_prompt
from poem.shape import answer_schema, encode
from poem_build.data.examples import Example, read_examples
from poem_build.engine.protocol import Question, Reply
from poem_build.judge import delivery
from poem_build.judge.delivery import Delivered, Sentences
from poem_build.judge.protocol import Verdict, read_verdicts, write_verdicts
from poem_build.judge.rules import Rules, ask
from poem_build.recipe.schema import Recipe
from poem_service.watch.ladder import ATTEMPTS_MAX
from support.chain import changed

WHOLE, CUT = "街の終章に、一枚の門がひらく。", "色という色が風をはらみ、目覚めの窓は。"


@dataclass
class Scripted:
    """An engine that says what it was given to say, in turn."""

    texts: list[str]
    name: str = "scripted"
    asked: list[Question] = field(default_factory=list)

    def ask(self, question: Question) -> Reply:
        self.asked.append(question)
        return Reply(self.texts.pop(0), "stop", seconds=1.0, prompt_tokens=100, tokens=10)


@pytest.fixture
def examples(out: Path) -> list[Example]:
    return read_examples(out / "dataset" / "test.jsonl", builtin_game())[:3]


def _first(examples: Sequence[Example], texts: Sequence[str]) -> list[Verdict]:
    pairs = zip(examples, texts, strict=True)
    return [Rules().judge(example, Reply(text, "stop"), "model") for example, text in pairs]


def test_the_service_tries_as_often() -> None:
    assert delivery.TRIES == ATTEMPTS_MAX


def test_a_hand_that_fails_is_asked_again_with_a_fresh_seed_until_its_tries_are_over(examples: list[Example]) -> None:
    right = [encode(example.answer) for example in examples]
    engine = Scripted(["nothing", right[1], "nothing", "nothing"])
    tries = delivery.deliver(engine, builtin_game(), examples, _first(examples, [right[0], "nothing", "nothing"]))
    assert [[one.passed for one in found] for found in tries] == [[True], [False, False, True], [False] * 3]
    assert [one.asked for one in tries[1]] == ["model", "model, try 2", "model, try 3"]
    seeds = [question.seed for question in engine.asked]
    assert len({*seeds, 0, 1, 2}) == 4 + 3
    assert all(question.titles for question in engine.asked)
    told = delivery.delivered(tries)
    assert (told.hands, told.by_try, told.answered) == (3, [1, 0, 1], 2)
    assert told.sentences.count == sum(examples[n].answer.poem.count("。") for n in (0, 1))
    assert told.sentences.whole == told.sentences.count


def test_sentences_are_counted_by_the_analyser_s_word() -> None:
    assert delivery.sentences([f"{WHOLE}{CUT}\n{WHOLE}", CUT]) == Sentences(count=4, whole=2)
    assert delivery.sentences(["門がひらき、風"]) == Sentences(count=1, whole=1)
    assert delivery.sentences([]).share == 0


def test_in_two_stages_a_hand_is_asked_for_its_outline_and_that_for_the_poem(examples: list[Example]) -> None:
    one = replace(examples[0], stages=2)
    outline = outline_of(one.answer)
    engine = Scripted([encode_outline(outline), encode(one.answer), "nothing"])
    reply = ask(engine, builtin_game(), one, 7, constrained=True, sampling={"min_p": 0.1})
    assert Rules().judge(one, reply, "model").passed
    first, second = engine.asked
    assert (first.outline, first.titles, second.outline, second.titles) == (
        True,
        one.candidates,
        False,
        (outline.title,),
    )
    assert (first.schema, second.schema) == (outline_schema(one.candidates), answer_schema((outline.title,)))
    assert second.messages == render_outlined_prompt(builtin_game().instructions, outline).messages()
    assert [(question.seed, question.sampling) for question in engine.asked] == [(7, {"min_p": 0.1})] * 2
    assert (reply.tokens, reply.seconds, reply.prompt_tokens) == (20, 2.0, 200)
    none = ask(engine, builtin_game(), one, 8, constrained=False)
    assert (none.text, none.tokens, engine.asked[2].titles, engine.asked[2].schema) == ("nothing", 10, (), None)


@pytest.mark.parametrize(("whole", "holds"), [(99, True), (98, False)])
def test_two_broken_sentences_in_a_hundred_are_refused(recipe: Recipe, whole: int, holds: bool) -> None:
    told = Delivered(hands=20, by_try=[20, 0, 0], sentences=delivery.sentences([WHOLE] * whole + [CUT] * (100 - whole)))
    line = delivery.whole_sentences(told, changed(recipe, "gate", whole_sentences=0.99).gate)
    assert (line.key, line.holds) == ("whole_sentences", holds)


def test_verdicts_are_read_as_they_were_written_whatever_stands_in_the_answers(tmp_path: Path) -> None:
    verdict = Verdict(
        judge="rules",
        asked="m",
        pairs=[],
        candidates=[],
        text="朝。\u2028夜。\u2029昼。\u0085",
        ended="stop",
        broken=["malformed"],
    )
    write_verdicts(tmp_path / "answers.jsonl", [verdict, verdict])
    assert read_verdicts(tmp_path / "answers.jsonl") == [verdict, verdict]

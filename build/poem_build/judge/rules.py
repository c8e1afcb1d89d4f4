"""The rules of the game as a judge, and hands played before it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from poem.game import Game
from poem.hand import Answer
from poem.outline import Outline, decode_outline
from poem.rules import check
from poem.shape import decode
from poem_build.data.examples import Example
from poem_build.engine.embedded import apart
from poem_build.engine.protocol import Engine, Question, Reply
from poem_build.judge.protocol import MALFORMED, Verdict
from poem_build.models.family import family
from poem_build.progress import progress
from poem_build.recipe.schema import Recipe


class Rules:
    """Knows what the service lets through."""

    name = "rules"

    def judge(self, example: Example, reply: Reply, asked: str) -> Verdict:
        """Which rules the answer breaks; one that did not end is none."""
        try:
            answer = decode(reply.whole or "")
        except ValueError:
            broken = [MALFORMED]
        else:
            found = check(answer, example.hand, example.candidates)
            broken = list(dict.fromkeys(violation.rule for violation in found))
        return Verdict(
            judge=self.name,
            asked=asked,
            pairs=example.hand.ids(),
            candidates=list(example.candidates),
            text=reply.text,
            ended=reply.ended,
            broken=broken,
        )


def question(game: Game, example: Example, seed: int, *, constrained: bool) -> Question:
    """The example's hand as a model is asked it: for its poem, or first for its outline."""
    titles = example.candidates if constrained else ()
    return Question(example.question(game), seed, titles, outline=example.stages == 2 and example.outline is None)


def ask(
    engine: Engine,
    game: Game,
    example: Example,
    seed: int,
    *,
    constrained: bool,
    sampling: Mapping[str, float] | None = None,
) -> Reply:
    """The engine's reply to the example's hand; in two stages with what both took, or the first where that is none."""
    first = replace(question(game, example, seed, constrained=constrained), sampling=sampling or {})
    reply = engine.ask(first)
    if not first.outline:
        return reply
    try:
        outline = decode_outline(reply.whole or "")
    except ValueError:
        return reply
    second = question(game, by_outline(example, outline), seed, constrained=constrained)
    return engine.ask(replace(second, sampling=first.sampling)).after(reply)


def by_outline(example: Example, outline: Outline) -> Example:
    """The example in its second stage, where the outline has chosen the title."""
    return replace(example, candidates=(outline.title,), outline=outline)


def play(
    engine: Engine,
    game: Game,
    examples: Sequence[Example],
    *,
    constrained: bool,
    seed: int = 0,
    sampling: Mapping[str, float] | None = None,
) -> list[Reply]:
    """A reply to each example's hand, seeded by its place."""
    how = "playing, shape constrained" if constrained else "playing freely"
    return [
        ask(engine, game, example, seed + n, constrained=constrained, sampling=sampling)
        for n, example in enumerate(progress(examples, how))
    ]


def play_file(
    gguf: Path, recipe: Recipe, game: Game, examples: Sequence[Example], *, constrained: bool, seed: int = 0
) -> list[Reply]:
    """The same of the recipe's GGUF file, which is loaded in a process of its own."""
    examples = [replace(example, stages=recipe.dataset.stages) for example in examples]
    with apart(gguf, family(recipe.base.family), recipe.serve) as engine:
        return play(engine, game, examples, constrained=constrained, seed=seed)


def read_answer(text: str | None, example: Example) -> tuple[Answer, str]:
    """The answer in a model's text, for a reader, and which rule it breaks; what is no answer stands as it came."""
    try:
        answer = decode(text or "")
    except ValueError:
        return Answer("(形にならなかった答え)", text or "…"), ""
    return answer, broken_rule(answer, example)


def broken_rule(answer: Answer, example: Example) -> str:
    """The first rule that the answer breaks, in Japanese; empty if it keeps all."""
    found = check(answer, example.hand, example.candidates)
    return f"規則: {found[0]}" if found else ""

"""A finished model → what it does on held-out hands, and whether the adapter is what does it.

Four questions: how many hands does it answer within all rules, with the shape constrained, as the service asks, and
without; are the sentences that it delivers whole; how many hands does the base answer alone; and does the right poem
become less likely when the prompt shows another hand's cards.
"""

import tempfile
from pathlib import Path
from random import Random
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from poem_build.data.examples import Example, read_examples
from poem_build.data.hands import hands
from poem_build.engine.embedded import apart
from poem_build.engine.protocol import Engine
from poem_build.export.gguf import convert_folder
from poem_build.judge.delivery import Delivered, deliver, delivered, whole_sentences
from poem_build.judge.interval import Interval, mean_interval
from poem_build.judge.protocol import FILE, Score, Verdict, score, write_verdicts
from poem_build.judge.rules import Rules, play
from poem_build.models import family
from poem_build.models.files import SERVED
from poem_build.models.likelihood import answer_losses
from poem_build.models.load import load_model, load_tokenizer
from poem_build.models.origin import read_origin
from poem_build.recipe.gate import Gate
from poem_build.store.artifact import Report
from poem_build.store.red_line import RedLine, refuse
from poem_build.store.stage import ALL, Finished, Job, Stage, sections

_BASE_HANDS = 50


class Swap(BaseModel):
    """By how many nats a right poem becomes less likely under another hand's cards, and in what share of hands."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    difference: Interval
    share_lower: float


class EvalReport(Report):
    """The answers in figures; the texts are beside them."""

    version: ClassVar[int] = 2
    constrained: Score
    delivered: Delivered
    free: Score
    base_free: Score
    other_cards: Swap
    other_cards_base: Swap


def run(job: Job) -> EvalReport:
    """Play `gate.eval_hands` held-out hands; all answers are kept."""
    recipe, game = job.recipe, job.game
    examples = read_examples(job.path("dataset", "test.jsonl"), game)[: recipe.gate.eval_hands]

    def judged(engine: Engine, asked: str, some: list[Example], *, constrained: bool) -> list[Verdict]:
        replies = play(engine, game, some, constrained=constrained)
        return [Rules().judge(example, reply, asked) for example, reply in zip(some, replies, strict=True)]

    talk = family.family(recipe.base.family)
    with apart(job.path("gguf", SERVED), talk, recipe.serve) as model:
        constrained = judged(model, "model, shape constrained", examples, constrained=True)
        tries = deliver(model, game, examples, constrained)
        free = judged(model, "model, free", examples, constrained=False)
    with tempfile.TemporaryDirectory() as work:
        base = Path(work) / "base.gguf"
        convert_folder(job.path("base"), base, recipe, read_origin(job.path("gguf")))
        with apart(base, talk, recipe.serve) as untrained:
            base_alone = judged(untrained, "base, free", examples[:_BASE_HANDS], constrained=False)
    again = [verdict for found in tries for verdict in found[1:]]
    write_verdicts(job.folder / FILE, [*constrained, *again, *free, *base_alone])
    return EvalReport(
        constrained=score(constrained),
        delivered=delivered(tries),
        free=score(free),
        base_free=score(base_alone),
        other_cards=_swap(job, "merged", examples),
        other_cards_base=_swap(job, "base", examples),
    )


def red_lines(report: EvalReport, asked: Gate) -> list[RedLine]:
    """What the model has to do, what it has to owe to the training, and that it looks at the cards."""
    cards = report.other_cards.difference
    return [
        RedLine(
            "eval_pass",
            "hands within all rules at the first try",
            report.constrained.share,
            asked.eval_pass,
            "train longer, or on more examples",
        ),
        RedLine(
            "base_pass_at_most",
            "hands that the base answers alone",
            report.base_free.share,
            asked.base_pass_at_most,
            "nothing is left for the adapter to do; take the base as it is",
            sense="at most",
        ),
        RedLine(
            "cards_above",
            "nats that a poem is less likely under another hand's cards, beyond the interval",
            cards.mean - cards.interval,
            asked.cards_above,
            "the model does not look at the cards; train longer",
            sense="above",
            shown="+.2f",
            note=str(cards),
        ),
        whole_sentences(report.delivered, asked),
    ]


def gate(finished: Finished) -> None:
    """Refuses a model below the recipe's red lines; one whose training was cut short is only reported on."""
    cut_short = read_origin(finished.inputs["gguf"].path).cut_short
    lines = red_lines(finished.artifact.report(EvalReport), finished.recipe.gate)
    refuse(lines, finished.artifact.path / FILE, cut_short=cut_short)


STAGE = Stage(
    name="eval",
    summary="Judge the finished model on held-out hands, against its base.",
    makes="eval",
    work=run,
    report=EvalReport,
    settings=sections("base", "serve", "gate"),
    inputs={"base": ALL, "merged": ALL, "gguf": (SERVED, "origin.json"), "dataset": ("test.jsonl",)},
    reads_game=True,
    outside=family.templates,
    modules=family.modules,
    packages=("llama-cpp-python", "torch", "transformers", "sudachipy"),
    gate=gate,
)


def _swap(job: Job, role: str, examples: list[Example]) -> Swap:
    """Of the model in that role; likelier under its own hand's cards is above 0."""
    import torch

    folder = job.path(role)
    model, tokenizer = load_model(folder, "float32").eval(), load_tokenizer(folder)
    talk = family.family(job.recipe.base.family)
    strangers = hands(job.game.deck, "test", Random("other hands"))
    differences = []
    with torch.inference_mode():
        for example in examples:
            other = Example(next(strangers), example.candidates, example.answer)
            pair = [talk.tokens(tokenizer, one.messages(job.game)) for one in (example, other)]
            right, wrong = answer_losses(model, pair)[0].sum(dim=1).tolist()
            differences.append(wrong - right)
    lower = sum(difference > 0 for difference in differences)
    return Swap(difference=mean_interval(differences), share_lower=round(lower / len(differences), 3))

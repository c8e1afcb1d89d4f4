"""A finished model → what it does on held-out hands, and whether the adapter is what does it.

Three questions: how many hands does it answer within all rules, with the shape constrained and without; how many
does the base alone; and does the right poem become less likely when the prompt shows another hand's cards.
"""

import tempfile
from pathlib import Path
from random import Random

from pydantic import BaseModel, ConfigDict

from poem_build.data.examples import Example, read_examples
from poem_build.data.hands import hands
from poem_build.errors import GateError
from poem_build.export.gguf import convert_folder
from poem_build.judge.interval import Interval, mean_interval
from poem_build.judge.protocol import FILE, Score, Verdict, score, write_verdicts
from poem_build.judge.rules import Rules, play_file
from poem_build.models import family
from poem_build.models.files import SERVED
from poem_build.models.likelihood import answer_losses
from poem_build.models.load import load_model, load_tokenizer
from poem_build.models.origin import read_origin
from poem_build.store.artifact import Report
from poem_build.store.stage import ALL, Finished, Job, Stage, sections

_BASE_HANDS = 50


class Swap(BaseModel):
    """By how many nats a right poem becomes less likely under another hand's cards, and in what share of hands."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    difference: Interval
    share_lower: float


class EvalReport(Report):
    """The answers in figures; the texts are beside them."""

    constrained: Score
    free: Score
    base_free: Score
    other_cards: Swap
    other_cards_base: Swap


def run(job: Job) -> EvalReport:
    """Play `gate.eval_hands` held-out hands; all answers are kept."""
    recipe, game = job.recipe, job.game
    examples = read_examples(job.path("dataset", "test.jsonl"), game)[: recipe.gate.eval_hands]

    def played(path: Path, asked: str, some: list[Example], *, constrained: bool) -> list[Verdict]:
        replies = play_file(path, recipe, game, some, constrained=constrained)
        return [Rules().judge(example, reply, asked) for example, reply in zip(some, replies, strict=True)]

    constrained = played(job.path("gguf", SERVED), "model, shape constrained", examples, constrained=True)
    free = played(job.path("gguf", SERVED), "model, free", examples, constrained=False)
    with tempfile.TemporaryDirectory() as work:
        base = Path(work) / "base.gguf"
        convert_folder(job.path("base"), base, recipe, read_origin(job.path("gguf")))
        base_alone = played(base, "base, free", examples[:_BASE_HANDS], constrained=False)
    write_verdicts(job.folder / FILE, [*constrained, *free, *base_alone])
    return EvalReport(
        constrained=score(constrained),
        free=score(free),
        base_free=score(base_alone),
        other_cards=_swap(job, "merged", examples),
        other_cards_base=_swap(job, "base", examples),
    )


def gate(finished: Finished) -> None:
    """Refuses a model below the recipe's gate, or a base above its own; a training cut short is only reported on."""
    report, asked = finished.artifact.report(EvalReport), finished.recipe.gate
    where = finished.artifact.path / FILE
    if read_origin(finished.inputs["gguf"].path).cut_short:
        return
    if report.constrained.share < asked.eval_pass:
        raise GateError(
            f"{where}: gate.eval_pass: {report.constrained.share:.1%} keep all rules, {asked.eval_pass:.0%} must"
        )
    if report.base_free.share > asked.base_pass_at_most:
        raise GateError(f"{where}: gate.base_pass_at_most: the base alone passes {report.base_free.share:.1%}")
    if report.other_cards.difference.mean <= report.other_cards.difference.interval:
        raise GateError(f"{where}: the model does not look at the cards; train longer")


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
    packages=("llama-cpp-python", "torch", "transformers"),
    gate=gate,
)


def _swap(job: Job, role: str, examples: list[Example]) -> Swap:
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

"""What `eval` found and the recipe's `[gate]` → red lines, and whether the composer writes better."""

import math
from dataclasses import dataclass
from typing import ClassVar

from poem.model_keys import Verdict
from poem_build.evaluation.names import BASE, COMPOSER, FREE
from poem_build.evaluation.report import MODEL, Figure, Judged, Measured
from poem_build.judge.delivery import READ_THEM, WHOLE
from poem_build.recipe.gate import Gate
from poem_build.store.artifact import Report
from poem_build.store.red_line import RedLine, Sense, is_so

COUNTED = "counted"
"""The judge that needs no model."""


class EvalReport(Measured, Report):
    """The answers in figures; the texts are beside them."""

    version: ClassVar[int] = 3
    hands: int
    hands_version: str
    device: str
    judges: list[Judged]
    judge_is_teacher: list[str]
    """Judges that wrote what the model learnt from: they know their own hand."""
    cost_usd: float


@dataclass(frozen=True)
class Line:
    """How a key of `[gate]` is read: of which figure, which way, and what to do where it does not hold."""

    figure: str
    what: str
    remedy: str
    sense: Sense = "at least"
    shown: str = ".1%"
    writer: str = MODEL
    bound: str = "value"
    """What of the figure has to be so: its value, or an end of its interval."""


_COPIES = "it repeats itself; give the training more and other poems, or fewer epochs"
_HIDES = "the realities show; teach it poems that say less of them"
LINES = {
    "eval_pass": Line("pass.first", "hands within all rules at the first try", "train longer, or on more examples"),
    "deliver_pass": Line("pass.delivered", "hands that get a poem in three tries", "train longer, or on more examples"),
    "base_pass_at_most": Line(
        "pass.first",
        "hands that the base answers alone",
        "nothing is left for the adapter to do; take the base as it is",
        sense="at most",
        writer=BASE + FREE,
    ),
    "cards_above": Line(
        "cards.above",
        "nats that a poem is less likely under another hand's cards, beyond the interval",
        "the model does not look at the cards; train longer",
        sense="above",
        shown="+.2f",
        bound="low",
    ),
    "whole_sentences": Line("sentences.whole", WHOLE, READ_THEM, shown=".2%"),
    "conceal_lemma": Line("conceal.lemma", "poems without a term of their cards in any form", _HIDES),
    "named_at_most": Line(
        "conceal.judge", "of the five realities, named by a judge among fifteen", _HIDES, sense="at most"
    ),
    "values_above": Line(
        "values.above",
        "values spoken beyond another hand's, beyond the interval",
        "the poems would do for any hand; train longer, or on poems that speak of theirs",
        sense="above",
        bound="low",
    ),
    "shared_at_most": Line("sentences.shared", "sentences that another hand's poem has too", _COPIES, sense="at most"),
    "self_bleu_at_most": Line("self_bleu", "BLEU of a poem with the others", _COPIES, sense="at most", shown=".1f"),
    "answer_s_at_most": Line(
        "speed.answer", "seconds of a whole answer", "a smaller quantization or base", sense="at most", shown=".1f"
    ),
    "forgets_at_most": Line(
        "forgetting",
        "nats a token that plain Japanese became less likely by",
        "fewer steps, a smaller learning rate or r",
        sense="at most",
        shown=".3f",
    ),
    "points_at_least": Line(
        "points.judge", "points of 100 by a judge's rubric", "better examples, or a larger base", shown=".1f"
    ),
    "beats_composer": Line(
        "duel.composer", "hands won over the composer, ties by half", "the composer writes better; do not serve it"
    ),
}
"""Each key of `[gate]` that speaks of a figure."""


def red_lines(report: EvalReport, asked: Gate) -> list[RedLine]:
    """The figures that the recipe has a word on; one that was not measured does not hold. At least 0 asks nothing.

    A report on fewer hands than the recipe asks for refuses only what its intervals rule out.
    """
    found, short = [], report.hands < asked.eval_hands
    for key, line in LINES.items():
        wanted: float | None = getattr(asked, key)
        if wanted is None or (line.sense == "at least" and not wanted):
            continue
        figure = report.figure(line.figure, line.writer)
        bound = ("low" if line.sense == "at most" else "high") if short else line.bound
        seen = float(getattr(figure, bound)) if figure else math.nan
        found.append(
            RedLine(
                key=key,
                what=line.what,
                seen=seen,
                asked=wanted,
                remedy=line.remedy if figure else "give a --judge, or more hands",
                sense=line.sense,
                shown=line.shown,
                note=_note(figure, line.shown, bound, short=short) if figure else "",
                sure=figure is None or is_so(getattr(figure, line.bound), line.sense, wanted),
            )
        )
    return found


def _note(figure: Figure, shown: str, bound: str, *, short: bool) -> str:
    """The rest of a figure of which one value is told: `90.1% to 94.9% of 400`."""
    value = "" if bound == "value" else f"{figure.value:{shown}}, "
    told = f"{value}{figure.low:{shown}} to {figure.high:{shown}} of {figure.count}"
    return f"{told}, a short report" if short else told


def verdict_of(report: EvalReport | None, *, refused: bool) -> Verdict:
    """What is told of the model in a word; nothing where `eval` has not looked at it."""
    if report is None:
        return ""
    return "below-composer" if below_composer(report) else "refused" if refused else "passed"


def below_composer(report: EvalReport) -> bool:
    """Whether the model writes worse than the composer beyond the interval.

    By the duels of every language model that judged; where none did, by the points that can be counted.
    """
    duels = [] if report.matrix is None else report.matrix.duels
    judged = [one for one in duels if (one.first, one.second, one.aspect) == (MODEL, COMPOSER, "overall")]
    heard = [one for one in judged if one.judge != COUNTED]
    if heard:
        return all(one.share.high < 0.5 for one in heard)
    above = report.figure("points.above_composer")
    return above is not None and above.high < 0

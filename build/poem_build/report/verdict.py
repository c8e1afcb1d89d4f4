"""A report of `eval` → which build goes on stage, in a sentence that page and terminal begin with."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from poem_build.evaluation.gates import LINES
from poem_build.evaluation.history import REGRESSION, Change, changes, choice
from poem_build.evaluation.outcome import Reason
from poem_build.evaluation.report import Evaluation, Figure
from poem_build.report import words


@dataclass(frozen=True)
class Verdict:
    """The first thing to be read."""

    mark: str
    tone: str
    """`good`, `bad` or `fair`."""
    headline: str
    why: str
    taken: str = ""
    """`this` or `former` where one of two builds is the one to take."""


def verdict(evaluation: Evaluation, *, short: bool = False) -> Verdict:
    """Which build goes on stage, and why, in a sentence each."""
    outcome, chosen = evaluation.verdict, choice(evaluation)
    why = "".join(_why(evaluation))
    if short:
        return Verdict(
            "試", "fair", "試し読みの報告。舞台に出すかは、まだ決まらない。", f"{why}決めるのは poem-build eval。"
        )
    if chosen == "former":
        return Verdict("否", "bad", "舞台には、前のビルドを。", why, "former")
    if chosen == "neither":
        return Verdict("否", "bad", "まだ舞台には出せない。", why)
    if outcome.below_composer:
        which = "出すなら、どちらでも。" if chosen == "either" else "出すなら、このビルドを。"
        told = f"線は越えたが、composerのほうがよく書く。{which if evaluation.former else ''}"
        return Verdict("保", "fair", told, why)
    if chosen == "either":
        return Verdict("可", "good", "どちらのビルドでも舞台に立てる。", f"前のビルドとの差は、区間のうち。{why}")
    if evaluation.former:
        return Verdict("可", "good", "舞台には、このビルドを。", why, "this")
    return Verdict("可", "good", "舞台に出せる。", why)


def _why(evaluation: Evaluation) -> Iterator[str]:
    refusing = [one for one in evaluation.verdict.reasons if one.refuses]
    fallen = [one for one in changes(evaluation.figures, evaluation.former) if one.regression]
    if fallen:
        told = "、".join(f"「{words.figure(c.now)}」({_both(c)})" for c in fallen[:3])
        yield f"前のビルドから、区間を越えて落ちた: {told}{f'ほか{len(fallen) - 3}件' if len(fallen) > 3 else ''}。"
    asked = [one for one in refusing if one.gate != REGRESSION]
    if asked:
        yield f"求める線に届かない: {_named(evaluation, asked)}。"
    if not refusing:
        risen = [c for c in changes(evaluation.figures, evaluation.former) if c.sense == "better"]
        if unsure := [one for one in evaluation.verdict.reasons if one.holds and not one.sure]:
            few = f"手札{evaluation.provenance.hands}組では"
            yield f"求める線を割ったとは言えないが、{_named(evaluation, unsure)}は{few}越えたとも言えない。"
        else:
            yield "求める線をすべて越えている。"
        if risen:
            yield f"前のビルドより、区間を越えてよい: {'、'.join(f'「{words.figure(c.now)}」' for c in risen[:3])}。"
    if evaluation.verdict.below_composer:
        yield "モデルなしのcomposerに、区間を越えて劣る。"
    if evaluation.verdict.cut_short:
        yield "学習は途中で切りあげてあり、届かない線は数えない。"


def _named(evaluation: Evaluation, some: Sequence[Reason]) -> str:
    """What the reasons are about, in a row."""
    return "、".join(f"「{words.reason(one, seen(evaluation, one))[0]}」" for one in some)


def _both(change: Change) -> str:
    before, now = (words.value(one.value, one.unit) for one in (change.former, change.now))
    return f"{before}→{now}"


def seen(evaluation: Evaluation, reason: Reason) -> Figure | None:
    """The figure that a gate speaks of."""
    line = LINES.get(reason.gate)
    return evaluation.figure(line.figure, line.writer) if line else None

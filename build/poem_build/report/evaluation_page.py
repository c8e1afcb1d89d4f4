"""A report of `eval` and the builds before it → one page in Japanese that asks nothing of any server.

What stands in poems, cards and names is text wherever it comes from; the page's own policy lets nothing be loaded and
no script run.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from poem_build.evaluation.gates import LINES
from poem_build.evaluation.history import REGRESSION, Change, changes, choice
from poem_build.evaluation.report import MODEL, Broken, Evaluation, Figure, Reason, Specimen
from poem_build.report import words
from poem_build.report.beside import beside
from poem_build.report.crosstable import crosstables
from poem_build.report.plots import plots, trend
from poem_build.store.folder import write_text

FILE = "report.html"
TEMPLATES = Path(__file__).parent / "templates"
_MAIN = ("pass.delivered", "pass.first", "conceal.lemma", "sentences.whole", "speed.answer")
_BESIDE = (*_MAIN[:-1], "values.spoken", "title.fit", "sentences.shared", "points.counted", "points.judge", _MAIN[-1])


@dataclass(frozen=True)
class Piece:
    """A run of a poem's letters and the rules that are broken there."""

    text: str
    rules: Sequence[str] = ()


@dataclass(frozen=True)
class Row:
    """A figure of the model, the former build's beside it."""

    figure: Figure
    change: Change | None
    asked: str


def write_page(path: Path, evaluation: Evaluation, kept: Sequence[Evaluation], *, short: bool = False) -> None:
    """Write the page; `kept` are all reports on the recipe, the oldest first. A short one decides nothing."""
    write_text(path, render(evaluation, kept, short=short))


def write_history(path: Path, kept: Sequence[Evaluation]) -> None:
    """Write the page of the builds of a recipe, the oldest first."""
    names = [name for name in _MAIN if any(one.figure(name) for one in kept)]
    fallen = [[words.figure(c.now) for c in changes(one.figures, one.former) if c.regression] for one in kept]
    page = (
        environment()
        .get_template("history.html")
        .render(
            kept=list(zip(kept, fallen, strict=True)), names=names, plots=list(trend(kept)), verdict=verdict(kept[-1])
        )
    )
    write_text(path, page)


def render(evaluation: Evaluation, kept: Sequence[Evaluation], *, short: bool = False) -> str:
    """The page."""
    rows = list(_rows(evaluation))
    return (
        environment()
        .get_template("evaluation.html")
        .render(
            e=evaluation,
            short=short,
            verdict=verdict(evaluation, short=short),
            made=datetime.fromisoformat(evaluation.provenance.made_at),
            main=[row for name in _MAIN for row in rows if row.figure.name == name],
            reasons=list(reasons(evaluation)),
            groups=list(_grouped(rows)),
            writers=beside(evaluation, _BESIDE),
            crosstables=list(crosstables(evaluation.matrix)) if evaluation.matrix else [],
            plots=[*plots(evaluation), *trend(kept)],
            poems=[(one, list(paragraphs(one)), _wholes(one)) for one in evaluation.poems],
        )
    )


def environment() -> Environment:
    """Where pages are filled in: everything is escaped, and a name that is missing is an error."""
    found = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.globals["words"] = words
    return found


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
    return "、".join(f"「{words.reason(one, _seen(evaluation, one))[0]}」" for one in some)


def _both(change: Change) -> str:
    before, now = (words.value(one.value, one.unit) for one in (change.former, change.now))
    return f"{before}→{now}"


def reasons(evaluation: Evaluation) -> Iterator[tuple[Reason, Sequence[str]]]:
    """Each reason with what it is about, what was seen, what was asked for and what to do."""
    fallen = {one.now.what: one for one in changes(evaluation.figures, evaluation.former) if one.regression}
    for reason in evaluation.verdict.reasons:
        if reason.gate == REGRESSION and (there := fallen.get(reason.what)):
            told = [f"{words.value(one.value, one.unit)}({words.interval(one)})" for one in (there.now, there.former)]
            about = f"{words.figure(there.now)}が落ちた"
            yield reason, (about, told[0], f"前は{told[1]}", words.REMEDIES[REGRESSION])
        else:
            yield reason, words.reason(reason, _seen(evaluation, reason))


def _seen(evaluation: Evaluation, reason: Reason) -> Figure | None:
    """The figure that a gate speaks of."""
    line = LINES.get(reason.gate)
    return evaluation.figure(line.figure, line.writer) if line else None


def _rows(evaluation: Evaluation) -> Iterator[Row]:
    there = {one.now: one for one in changes(evaluation.figures, evaluation.former)}
    asked = {reason.gate: words.asked(reason.asked) for reason in evaluation.verdict.reasons}
    for figure in evaluation.figures:
        if figure.writer == MODEL:
            yield Row(figure, there.get(figure), asked.get(figure.gate, ""))


def _grouped(rows: Sequence[Row]) -> Iterator[tuple[str, Sequence[Row]]]:
    known: list[str] = []
    for title, beginnings in words.GROUPS:
        some = [row for row in rows if row.figure.name.startswith(beginnings)]
        known += [row.figure.name for row in some]
        if some:
            yield title, some
    if rest := [row for row in rows if row.figure.name not in known]:
        yield "ほか", rest


def paragraphs(specimen: Specimen) -> Iterator[list[Piece]]:
    """The poem's paragraphs in pieces, each with the rules that are broken there."""
    at = 0
    for text in specimen.poem.split("\n"):
        here = [one for one in specimen.broken if one.part == "poem" and one.start is not None]
        yield list(_pieces(text, at, here))
        at += len(text) + 1


def _pieces(text: str, at: int, broken: Sequence[Broken]) -> Iterator[Piece]:
    spans = [(max(0, (b.start or 0) - at), min(len(text), (b.end or 0) - at), b.rule) for b in broken]
    cuts = sorted({0, len(text), *(cut for start, end, _ in spans if start < end for cut in (start, end))})
    for start, end in pairwise(cuts):
        rules = [words.rule(rule) for first, last, rule in spans if first <= start and end <= last]
        yield Piece(text[start:end], tuple(dict.fromkeys(rules)))


def _wholes(specimen: Specimen) -> list[str]:
    """The rules that are broken by the poem as a whole, or by its title."""
    found = dict.fromkeys(one.rule for one in specimen.broken if one.start is None)
    length = f"({len(specimen.poem)}字)"
    return [f"{words.rule(rule)}{length if rule == 'length' else ''}" for rule in found]

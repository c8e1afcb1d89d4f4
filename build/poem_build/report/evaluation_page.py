"""A report of `eval` and the builds before it → one page in Japanese that asks nothing of any server.

What stands in poems, cards and names is text wherever it comes from; the page's own policy lets nothing be loaded and
no script run.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from poem_build.evaluation.history import REGRESSION, Change, changes
from poem_build.evaluation.outcome import Reason
from poem_build.evaluation.poems import Broken, Specimen
from poem_build.evaluation.report import MODEL, Evaluation, Figure
from poem_build.report import words
from poem_build.report.beside import beside
from poem_build.report.crosstable import crosstables
from poem_build.report.plots import plots, trend
from poem_build.report.templating import environment
from poem_build.report.verdict import seen, verdict
from poem_build.store.folder import write_text

FILE = "report.html"
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


def reasons(evaluation: Evaluation) -> Iterator[tuple[Reason, Sequence[str]]]:
    """Each reason with what it is about, what was seen, what was asked for and what to do."""
    fallen = {one.now.what: one for one in changes(evaluation.figures, evaluation.former) if one.regression}
    for reason in evaluation.verdict.reasons:
        if reason.gate == REGRESSION and (there := fallen.get(reason.what)):
            told = [f"{words.value(one.value, one.unit)}({words.interval(one)})" for one in (there.now, there.former)]
            about = f"{words.figure(there.now)}が落ちた"
            yield reason, (about, told[0], f"前は{told[1]}", words.REMEDIES[REGRESSION])
        else:
            yield reason, words.reason(reason, seen(evaluation, reason))


def _rows(evaluation: Evaluation) -> Iterator[Row]:
    there = {one.now: one for one in changes(evaluation.figures, evaluation.former)}
    asked = {reason.gate: words.asked(reason) for reason in evaluation.verdict.reasons}
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

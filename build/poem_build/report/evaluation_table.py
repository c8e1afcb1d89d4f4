"""A report of `eval` → its verdict and main figures as lines for a terminal."""

import unicodedata
from collections.abc import Sequence

from poem_build.evaluation.harness import Tries
from poem_build.evaluation.history import REGRESSION, changes
from poem_build.evaluation.report import MODEL, Evaluation, Figure
from poem_build.report import words
from poem_build.report.beside import beside
from poem_build.report.verdict import verdict

_BESIDE = ("pass.delivered", "pass.first", "conceal.lemma", "points.counted")
_SENSES = {"better": "↗ よくなった", "worse": "↘ 落ちた", "": "差は言えない"}


def render(evaluation: Evaluation) -> str:
    """The verdict, and every figure of the model with its interval, the former build's beside it."""
    told = verdict(evaluation)
    before = {one.now: one for one in changes(evaluation.figures, evaluation.former)}
    asked = {one.gate: words.asked(one) for one in evaluation.verdict.reasons}
    rows = [["何を", "このビルド", "区間", *(["前のビルド", "くらべて"] if evaluation.former else []), "求める線"]]
    for one in evaluation.figures:
        if one.writer == MODEL:
            there = before.get(one)
            former = [_value(there.former), _SENSES[there.sense]] if there else ["", ""]
            past = former if evaluation.former else []
            rows.append([words.figure(one), _value(one), words.interval(one), *past, asked.get(one.gate, "")])
    more = ["", *tried(evaluation.harness)] if evaluation.harness else []
    return "\n".join([f"{told.mark} {told.headline}", told.why, "", *lines(rows), *_writers(evaluation), *more])


def _writers(evaluation: Evaluation) -> list[str]:
    """A line for each writer after an empty one, if there are several."""
    there = beside(evaluation, _BESIDE)
    rows = [["書き手", "手札", *map(words.short, there.columns)]]
    for row in there.rows:
        shown = [f"{_value(one)} ({words.interval(one)})" if one else "" for one in row.values]
        rows.append([words.writer(row.writer), str(row.hands), *shown])
    return ["", *lines(rows)] if len(there.rows) > 1 else []


def tried(tries: Tries) -> list[str]:
    """What lm-eval found, a line for each metric."""
    rows = [[f"lm-eval {tries.version}", "物差し", "誰が", "値", "標準誤差", "よい向き", "問い"]]
    for one in tries.found:
        error = "" if one.error is None else f"±{one.error:.3f}"
        told = [words.writer(one.of), f"{one.value:.3f}", error, words.BETTER[one.better], str(one.count)]
        rows.append([one.task, one.metric, *told])
    return lines(rows)


def trend(kept: Sequence[Evaluation], names: Sequence[str]) -> str:
    """A line a build, the oldest first."""
    rows = [["作った時", "GGUF", "手札", *(words.SHORT.get(name, name) for name in names), "判定"]]
    for one in kept:
        figures = [one.figure(name) for name in names]
        shown = [f"{_value(figure)} ({words.interval(figure)})" if figure else "" for figure in figures]
        told = one.provenance
        passed = "出せる" if one.verdict.passed else "出せない"
        if any(reason.gate == REGRESSION for reason in one.verdict.reasons):
            passed += "(前より落ちた)"
        rows.append([told.made_at[:16].replace("T", " "), told.gguf[:8], str(told.hands), *shown, passed])
    return "\n".join(lines(rows))


def lines(rows: Sequence[Sequence[str]]) -> list[str]:
    """The rows with their columns one below the other, full-width letters counted as two."""
    widths = [max(_width(row[n]) for row in rows) for n in range(len(rows[0]))]
    padded = (
        "  ".join(cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)) for row in rows
    )
    return [line.rstrip() for line in padded]


def _value(one: Figure) -> str:
    return words.value(one.value, one.unit)


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)

"""A report on the model, or the hands of a smoke test → a report on another writer, or a short one."""

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from poem.game import Game
from poem.hand import Answer, hand_of
from poem.prompt import render_prompt
from poem_build.data.examples import Example
from poem_build.evaluation import gates, hands, matrix, measures, ratios
from poem_build.evaluation.answers import Row, Sheet, play
from poem_build.evaluation.gates import EvalReport
from poem_build.evaluation.hands import Trial
from poem_build.evaluation.names import COMPOSER, WriterName
from poem_build.evaluation.report import MODEL, Judged, Matrix
from poem_build.evaluation.specimen import specimens
from poem_build.evaluation.writers import Composed, Writer
from poem_build.judge.protocol import Verdict


def sheets_of(rows: Iterable[Row], game: Game) -> list[Sheet]:
    """The writers' sheets that the answers were written from."""
    found = []
    for writer, some in groupby(rows, lambda row: row.writer):
        tries = [list(one) for _, one in groupby(some, lambda row: (row.hand, row.candidates))]
        trials = [Trial(_example(game, one[0].hand, one[0].candidates)) for one in tries]
        found.append(Sheet(writer, trials, tries))
    return found


def seen_as(report: EvalReport, writer: str, model: str, sheets: Sequence[Sheet]) -> EvalReport:
    """The same, as a report on another writer: the model goes by its own name, what only it has is left out."""
    names = {writer: MODEL, MODEL: model}

    def called(one: Any) -> Any:
        return one.model_copy(update={"writer": names.get(one.writer, one.writer)})

    figures = [
        called(one)
        for one in report.figures
        if one.writer
        and (one.writer == writer or not WriterName.of(one.writer).free)
        and not one.name.endswith(("_composer", ".composer"))
    ]
    ours = next(sheet for sheet in sheets if sheet.writer == writer)
    return report.model_copy(
        update={
            "figures": figures,
            "rules": [called(one) for one in report.rules],
            "groups": [called(one) for one in report.groups],
            "samples": [called(one) for one in report.samples],
            "matrix": _renamed(report.matrix, names),
            "poems": specimens(ours, [sheet for sheet in sheets if sheet.writer == MODEL]),
            "teacher_ratio": None,
            "judge_is_teacher": [],
        }
    )


def short_report(game: Game, verdicts: Sequence[Verdict], device: str) -> EvalReport:
    """What a smoke test's answers show, beside the composer's for the same hands: first tries, and nothing of speed."""
    trials = [Trial(_example(game, one.pairs, one.candidates)) for one in verdicts]
    tried = [[_row(one, trial.example)] for one, trial in zip(verdicts, trials, strict=True)]
    report = local_report(game, trials, {COMPOSER: Composed(game)}, device, [Sheet(MODEL, trials, tried)])
    return report.model_copy(update={"figures": [one for one in report.figures if one.name != "pass.delivered"]})


def local_report(
    game: Game, trials: Sequence[Trial], wanted: Mapping[str, Writer], device: str, there: Sequence[Sheet] = ()
) -> EvalReport:
    """A report by rules and counting alone on the sheets given and on `wanted`, who need no model.

    The poems shown are the first one's.
    """
    with tempfile.TemporaryDirectory() as room:
        sheets = [*there, *(play(name, writer, trials, Path(room)) for name, writer in wanted.items())]
    measured = [measures.measure(sheet, game) for sheet in sheets]
    points = {sheet.writer: measures.points_of(sheet) for sheet in sheets}
    above = ratios.above_composer(points) if COMPOSER in points else []
    return EvalReport(
        hands=len(trials),
        hands_version=hands.version(trials),
        device=device,
        figures=[*(one for each in measured for one in each.figures), *above],
        rules=[one for each in measured for one in each.rules],
        groups=[one for each in measured for one in each.groups],
        samples=[one for each in measured for one in each.samples],
        matrix=matrix.matrix(list(points), [matrix.by_points(points, gates.COUNTED)], []),
        poems=specimens(sheets[0], sheets[1:]),
        teacher_ratio=None,
        judges=[Judged(name=name) for name in ("rules", gates.COUNTED)],
        judge_is_teacher=[],
        cost_usd=0.0,
    )


def _example(game: Game, ids: Iterable[tuple[str, str]], candidates: Sequence[str]) -> Example:
    return Example(hand_of(game.deck, ids), tuple(candidates), Answer(candidates[0], ""))


def _row(verdict: Verdict, example: Example) -> Row:
    return Row(
        writer=MODEL,
        hand=verdict.pairs,
        candidates=verdict.candidates,
        prompt=render_prompt("", example.hand, example.candidates).user,
        attempt=1,
        text=verdict.text,
        ended=verdict.ended,
        verdicts={"rules": verdict.broken},
        prompt_tokens=0,
        tokens=0,
        first_s=0.0,
        tokens_s=0.0,
        seconds=0.0,
    )


def _renamed(table: Matrix | None, names: dict[str, str]) -> Matrix | None:
    if table is None:
        return None

    def called(name: str) -> str:
        return names.get(name, name)

    return table.model_copy(
        update={
            "writers": [called(name) for name in table.writers],
            "duels": [
                one.model_copy(update={"first": called(one.first), "second": called(one.second)}) for one in table.duels
            ],
            "scores": [one.model_copy(update={"writer": called(one.writer)}) for one in table.scores],
        }
    )

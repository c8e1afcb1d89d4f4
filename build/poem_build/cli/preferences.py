"""`dataset preferences`: a model's own answers, several a hand → what `train` by `dpo` reads."""

import json
from dataclasses import dataclass
from math import comb
from pathlib import Path

import click

from poem_build.cli.evaluation import juror_of, money_options, place_of
from poem_build.cli.options import Chosen, host_option, work_options
from poem_build.engine.ollama import address
from poem_build.errors import DatasetError
from poem_build.evaluation import preferences, rivals, writers
from poem_build.evaluation.hands import trials
from poem_build.evaluation.jury import Juror
from poem_build.evaluation.names import WriterName, roles, writer_names
from poem_build.evaluation.preferences import Report
from poem_build.evaluation.report import MODEL
from poem_build.evaluation.writers import Place
from poem_build.store.stage import Job
from poem_build.teacher.money import load_prices

ROOM = "preferences"
"""Among the artifacts."""


@dataclass(frozen=True)
class _Asked:
    """Who is asked for how much, and who judges, for how many dollars at the most."""

    writer: WriterName
    hands: int
    answers: int
    place: Place
    juror: Juror | None
    most_usd: float | None


@click.command("preferences")
@work_options
@click.option(
    "--writer", default=MODEL, show_default=True, help="The model that answers, as `eval --writers` names it."
)
@click.option("--hands", type=click.IntRange(1), default=150, show_default=True, help="Training hands that are asked.")
@click.option("--answers", type=click.IntRange(2, 64), default=4, show_default=True, help="Answers a hand.")
@click.option("--judge", metavar="KIND:MODEL", help="Who compares those that keep the rules.  [the lexicon of values]")
@money_options
@host_option
def preferences_command(
    chosen: Chosen,
    as_json: bool,
    writer: str,
    hands: int,
    answers: int,
    judge: str | None,
    max_cost: float | None,
    list_path: Path,
    dry_run: bool,
    host: str,
) -> None:
    """Have a model answer hands several times, and write which answer is preferred to which: what `dpo` learns from."""
    prices, there = load_prices(list_path), address(host)
    juror = juror_of(chosen, judge, prices, list_path, there) if judge else None
    most = None if max_cost is None else max_cost / prices.yen_per_dollar
    (name,) = writer_names((writer,), "--writer")
    roles(name)
    asked = _Asked(name, hands, answers, place_of((name,), there), juror, most)
    click.echo(_plan(chosen, asked, prices.yen_per_dollar), err=not dry_run)
    if not dry_run:
        _print(*_make(chosen, asked), as_json)


def _plan(chosen: Chosen, asked: _Asked, yen_per_dollar: float) -> str:
    outlines = ", by an outline each" if chosen.recipe.dataset.stages == 2 else ""
    told = f"{asked.writer}: {asked.hands * asked.answers} answers to {asked.hands} hands{outlines}, if none is there"
    if asked.juror is None:
        return told
    most = asked.hands * comb(asked.answers, 2)
    count, usd = preferences.reckoned(trials(chosen.game, 1)[0].example, most, asked.juror.price)
    yen = usd * yen_per_dollar
    return f"{told}; {asked.juror.name}: up to {count} questions, ${usd:.4f} or ¥{yen:.1f} if none was asked before"


def _make(chosen: Chosen, asked: _Asked) -> tuple[Path, Report]:
    """Ask, compare and write. Raises `DatasetError` where nothing is preferred to anything."""
    workshop, room = chosen.workshop(), chosen.out / ROOM
    inputs = {role: workshop.load(role) for role in roles(asked.writer)}
    job = Job(chosen.recipe, chosen.game, room, room, inputs)
    about = rivals.about(asked.writer, job, asked.place)
    with writers.opened(asked.writer, job, asked.place) as writer:
        rounds = rivals.play(writer, chosen.game, about, asked.hands, asked.answers, room)
    met = preferences.meetings(rounds)
    if juror := asked.juror:
        outcomes = preferences.by_judge(juror, chosen.game, met, chosen.out, asked.most_usd)
    else:
        outcomes = preferences.by_values(chosen.game, met)
    lines = preferences.lines(chosen.game, rounds, met, outcomes, "judge" if juror else "values")
    told = preferences.report(str(asked.writer), juror.name if juror else "values", rounds, outcomes, lines)
    if not lines:
        raise DatasetError(
            f"{room}: nothing is preferred to anything: {told.keeping} of {told.answers} answers keep the rules, "
            f"{told.ties} of {told.compared} comparisons are ties{_unlined(told)}; give more --hands or --answers, or "
            "another --judge"
        )
    return preferences.write(room, lines, told), told


def _unlined(told: Report) -> str:
    return f", {told.without_outline} hands got no outline" if told.without_outline else ""


def _print(path: Path, told: Report, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"path": str(path), "tied": round(told.tied, 4), **told.model_dump(mode="json")}))
        return
    by_reason = ", ".join(f"{count} by {why}" for why, count in told.pairs.items())
    agree = "" if told.orders_agree is None else f", both orders agree on {told.orders_agree:.0%}"
    unread = f", {told.unread} unread" if told.unread else ""
    biased = f"; {told.judge} goes by the order" if told.bias and told.bias.biased else ""
    click.echo(
        f"{path}: {sum(told.pairs.values())} pairs ({by_reason}) of {told.answers} answers to {told.hands} hands: "
        f"{told.keeping} keep the rules, {told.breaking} break them, {told.repeated} repeated, {told.unfinished} cut"
        f"{_unlined(told)}; {told.ties} of {told.compared} comparisons tied ({told.tied:.0%}){unread}{agree}{biased}"
    )

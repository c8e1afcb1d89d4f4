"""`eval`: held-out hands played by the model and whoever else is named, judged, and the report on it."""

import json
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import get_args

import click

from poem_build.cli import pipeline
from poem_build.cli.judged import harness_command, history_command, page_command, read_command
from poem_build.cli.keys import check_extra, credentials, teacher_of
from poem_build.cli.options import PATH, YEN, Chosen, DefaultGroup, all_of, host_option, work_options
from poem_build.client import Credentials
from poem_build.engine.ollama import address
from poem_build.errors import GateError, TeacherError
from poem_build.evaluation import jury
from poem_build.evaluation.hands import BY_HAND, TEACHER
from poem_build.evaluation.jury import Juror, Jury
from poem_build.evaluation.names import COMPOSER, WriterName, check_files, writer_names
from poem_build.evaluation.report import FILE, MODEL, Evaluation, read_evaluation
from poem_build.evaluation.stage import Wishes
from poem_build.evaluation.writers import Place
from poem_build.recipe.teaching import TeacherName
from poem_build.report import evaluation_page, evaluation_table
from poem_build.store.workshop import Workshop
from poem_build.teacher.money import FREE, PRICES, Prices, load_prices, price_of

_KINDS = tuple(name for name in get_args(TeacherName) if name != COMPOSER)
_ANSWER_TOKENS = 256

money_options = all_of(
    click.option("--max-cost", type=YEN, metavar="YEN", help="So much the judges may cost in all."),
    click.option("--prices", "list_path", type=PATH, default=PRICES, help="Another price list."),
    click.option("--dry-run", is_flag=True, help="Say what the judges would cost and ask nobody."),
)
judges_options = all_of(
    click.option("--judge", "judges", multiple=True, metavar="KIND:MODEL", help=f"{', '.join(_KINDS)}; repeatable."),
    click.option("--judge-hands", type=click.IntRange(1), default=40, show_default=True, help="Hands that are judged."),
    money_options,
)


@click.command("eval")
@work_options
@click.option(
    "--hands", type=click.IntRange(2), help="Held-out hands.  [the recipe's: 400, a point either way at 99 %]"
)
@click.option("--writers", "names", default="", metavar="A,B,…", help="Others to play them: docs/evaluation.md.")
@judges_options
@host_option
def _command(
    chosen: Chosen,
    as_json: bool,
    hands: int | None,
    names: str,
    judges: tuple[str, ...],
    judge_hands: int,
    max_cost: float | None,
    list_path: Path,
    dry_run: bool,
    host: str,
) -> None:
    """Judge the finished model on held-out hands, beside other writers."""
    prices = load_prices(list_path)
    most = None if max_cost is None else max_cost / prices.yen_per_dollar
    if len(set(judges)) < len(judges):
        raise TeacherError(f"--judge {max(judges, key=judges.count)}: is there twice; give each once")
    jurors = tuple(juror_of(chosen, one, prices, list_path, address(host)) for one in judges)
    others = _names(names)
    asked = Wishes(hands, others, Jury(jurors, judge_hands, most), place_of(others, address(host)))
    for line in _plan(chosen, asked, prices) or ["no --judge: nobody is paid"] * dry_run:
        click.echo(line, err=not dry_run)
    if not dry_run:
        _evaluate(chosen, asked, as_json)


eval_group = DefaultGroup(_command)
for _beside in (read_command, harness_command, history_command, page_command):
    eval_group.add_command(_beside)


def _names(text: str) -> tuple[WriterName, ...]:
    found = writer_names([name.strip() for name in text.split(",") if name.strip()])
    check_files(found)
    return found


def place_of(names: Sequence[WriterName], host: str) -> Place:
    """Where these writers are asked. Raises `TeacherError` where one is a server's and its key is not there."""
    served = any(name.kind == "openai" for name in names)
    return Place(host, credentials("openai", os.environ) if served else Credentials())


def juror_of(chosen: Chosen, text: str, prices: Prices, list_path: Path, host: str) -> Juror:
    """The judge that the option names. Raises `TeacherError` for one without a model, a price or a key."""
    kind, _, model = text.partition(":")
    if kind not in _KINDS or not model:
        raise TeacherError(f"--judge {text}: give KIND:MODEL, the kind one of {', '.join(_KINDS)}")
    check_extra()
    change = {"name": kind, "model": model, "temperature": 0.0, "max_tokens": _ANSWER_TOKENS, "cache_ttl_s": 0}
    spec = chosen.recipe.teacher.model_copy(update=change)
    credentials(spec.name, os.environ)
    price = FREE if kind == "ollama" else price_of(prices, model, list_path)
    return Juror(spec, price, partial(teacher_of, spec, price, chosen.game, host, os.environ))


def _plan(chosen: Chosen, asked: Wishes, prices: Prices) -> Sequence[str]:
    """What each judge is asked, and what that costs if none of it was asked before."""
    by_hand = [BY_HAND] if any(poem.held_out for poem in chosen.game.poems) else []
    teacher = [TEACHER] if chosen.recipe.dataset.taught else []
    ranked = dict.fromkeys([MODEL, COMPOSER, *by_hand, *teacher, *asked.named])
    hands = min(asked.jury.hands, asked.hands or chosen.recipe.gate.eval_hands)
    found = []
    for juror in asked.jury.jurors:
        count, usd = jury.reckoned(chosen.game, len(ranked), hands, juror.price)
        yen = usd * prices.yen_per_dollar
        found.append(f"{juror.name}: up to {count} questions, ${usd:.4f} or ¥{yen:.1f} if none was asked before")
    return found


def _evaluate(chosen: Chosen, asked: Wishes, as_json: bool) -> None:
    """Make the report and tell of it, also of one that is refused."""
    workshop = Workshop(chosen.recipe, chosen.game, chosen.out, pipeline.evaluating(chosen.recipe, asked))
    try:
        pipeline.make(workshop, "eval")
    except GateError:
        _print(workshop.out / "eval" / FILE, as_json)
        raise
    _print(workshop.out / "eval" / FILE, as_json)


def _print(path: Path, as_json: bool) -> None:
    report = read_evaluation(path)
    if as_json:
        told = report.model_dump(mode="json", include={"verdict", "provenance", "figures", "teacher_ratio"})
        click.echo(json.dumps({"stage": "eval", "path": str(path), **told}, ensure_ascii=False))
    else:
        click.echo(evaluation_table.render(report))
        click.echo(f"\neval: {path.with_name(evaluation_page.FILE)}: {_sentence(report)}")


def _sentence(report: Evaluation) -> str:
    refusing = [reason.gate for reason in report.verdict.reasons if reason.refuses]
    told = f"refused by {', '.join(refusing)}" if refusing else "goes on stage"
    return f"{report.provenance.recipe} {told}{', below the composer' if report.verdict.below_composer else ''}"


COMMANDS = (eval_group,)

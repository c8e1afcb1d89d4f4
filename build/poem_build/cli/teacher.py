"""The teacher as commands: have poems, words or a table written, or carry questions and answers as files."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import click

from poem_build.cli.keys import check_extra, teacher_of
from poem_build.cli.options import (
    PATH,
    YEN,
    Chosen,
    all_of,
    as_given,
    folder_options,
    host_option,
    one_line_errors,
    recipe_options,
)
from poem_build.data import lessons, wordbook
from poem_build.data.checks import check_files, counted
from poem_build.data.course import Course, together
from poem_build.data.exchange import Files, Format, write_asks
from poem_build.data.hands import SPLITS
from poem_build.data.lessons import Taught
from poem_build.data.phases import PHASES, Estimate, check_gate, estimate, phase_of, sample_usage, table_of
from poem_build.data.sampler import check_quotas, told
from poem_build.data.wordbook import Laid
from poem_build.data.words import MAX_TOKENS, expected_words
from poem_build.engine.ollama import address
from poem_build.errors import TeacherError
from poem_build.recipe.teaching import TeacherName, Teaching
from poem_build.report import costs_table
from poem_build.report.dataset_page import PAGE, write_report
from poem_build.teacher.asking import Ahead
from poem_build.teacher.gemini import Gemini
from poem_build.teacher.money import FREE, PRICES, Price, Prices, load_prices, price_of
from poem_build.teacher.protocol import Teacher, Usage

ROOM = "teacher"
"""Among the artifacts."""
TABLE_HANDS = 1000

asked_options = all_of(
    click.option("--teacher", "name", type=click.Choice(get_args(TeacherName)), help="Who is asked.  [the recipe's]"),
    click.option("--model", help="As its maker calls it.  [the recipe's]"),
    click.option("--prices", "list_path", type=PATH, default=PRICES, help="Another price list."),
)


hands_options = all_of(
    click.option("--phase", type=click.IntRange(0, len(PHASES) - 1), help="100, 500, 5,000 or 50,000 hands.  [0]"),
    click.option("--hands", type=click.IntRange(10), help="Any other number of hands."),
)


@click.group("teacher")
def teacher_group() -> None:
    """Have Gemini or its like, or people, write poems and words for a game."""
    with one_line_errors(debug=False):
        check_extra()


@dataclass(frozen=True)
class _Work:
    """What is to be written, by whom, and what that takes."""

    chosen: Chosen
    what: str
    hands: int
    terms: tuple[Teaching, Prices, Price]
    phase: int | None
    """Of poems: the one that so many hands belong to."""
    batch: bool = False

    def plan(self) -> str:
        """What it would take, less what is answered, and all phases of poems. Raises what journals and deck refuse."""
        spec, prices, price = self.terms
        lines = [f"{spec.name}{' ' + spec.model if spec.name != 'composer' else ''}, if nothing is asked twice"]
        if self.what == "poems":
            lines.append(table_of(self._one(), price, prices, spec.per_minute, batch=self.batch))
        row, ahead = self._ahead()
        now = [
            row.told(prices.yen_per_dollar, batch=self.batch, free=price is FREE) if row.hands else "nothing is asked"
        ]
        now += [f"{ahead.out:,} are out in a batch"] if ahead.out else []
        now += [f"{ahead.taken:,} are answered and taken over"] if ahead.taken else []
        return "\n".join([*lines, f"now: {'; '.join(now)}"])

    def _ahead(self) -> tuple[Estimate, Ahead]:
        spec, _, price = self.terms
        course = self.course(Files(spec.name, spec.model), None)
        if self.what == "words":
            asks, ahead = wordbook.ahead(course)
            usage, seconds = expected_words(asks, spec, price, batch=self.batch), len(asks) * 60 / spec.per_minute
            return Estimate(len(asks), usage, price.of(usage, batch=self.batch), seconds), ahead
        ahead = lessons.ahead(course, self.what, self.hands)
        return estimate(ahead.asks, self._one(), price, spec.per_minute, batch=self.batch), ahead

    def _one(self) -> Usage:
        spec, _, price = self.terms
        return sample_usage(self.chosen.game, spec, price, batch=self.batch)

    def gate(self, *, force: bool) -> dict[str, Any]:
        """What is to be recorded of the gate before the phase. Raises `GateError`."""
        if self.phase is None:
            return {}
        if force:
            return {"phase": self.phase, "forced": True}
        work, teacher = as_given("recipe", "base", "folder", "out"), as_given("name", "model")
        return {"phase": self.phase, "gate": check_gate(self.phase, self.chosen.out, self.chosen.game, work, teacher)}

    def course(self, teacher: Teacher, max_cost: float | None) -> Course:
        """The course with that teacher, for so many yen at the most."""
        (spec, prices, price), chosen = self.terms, self.chosen
        most = None if max_cost is None else max_cost / prices.yen_per_dollar
        return Course(chosen.game, chosen.folder, chosen.out / ROOM, teacher, spec, prices, price, most, self.batch)


@teacher_group.command("run")
@folder_options
@click.option("--what", type=click.Choice(["poems", "words", "table"]), default="poems", show_default=True)
@hands_options
@asked_options
@click.option("--max-cost", type=YEN, metavar="YEN", help="So much may be spent, what is out included.")
@click.option("--dry-run", is_flag=True, help="Say what it would take and ask nothing.")
@click.option("--batch", is_flag=True, help="By Gemini's Batch API: half the price, within a day.")
@click.option("--force", is_flag=True, help="Go on although the student is not far enough; that is recorded.")
@host_option
def run_command(
    chosen: Chosen, as_json: bool, max_cost: float | None, dry_run: bool, force: bool, host: str, **asked: Any
) -> None:
    """Have poems, by phases, a game's words, or a table written; what was answered is never asked again."""
    work = _work(chosen, **asked)
    click.echo(work.plan(), err=not dry_run)
    if dry_run:
        return
    note = work.gate(force=force)
    teacher = teacher_of(work.terms[0], work.terms[2], chosen.game, address(host), os.environ)
    course = work.course(teacher, max_cost)
    if work.what == "words":
        _print_words(_done(wordbook.teach_words(course), teacher), course, as_json)
    elif work.what == "poems":
        _print_poems(_done(lessons.teach_poems(course, work.hands, note), teacher), course, as_json)
    else:
        _print(_done(lessons.teach_table(course, work.hands), teacher), course.room / lessons.TABLE, as_json)


def _done(work: Any, teacher: Teacher) -> Any:
    """What the work makes; a word on a prompt that was to be kept and was not, however it ends."""
    try:
        return together(work, teacher)
    finally:
        if isinstance(teacher, Gemini) and teacher.not_kept:
            click.echo(f"Warning: the fixed prompt is not kept but sent each time: {teacher.not_kept}", err=True)


def _work(chosen: Chosen, what: str, phase: int | None, hands: int | None, batch: bool, **who: Any) -> _Work:
    if phase is not None and what != "poems":
        raise click.UsageError(f"--phase goes with --what poems, not {what}; leave it out")
    if hands is not None and what == "words":
        raise click.UsageError("--hands goes with --what poems or table, not words; leave it out")
    spec, prices, price = _terms(chosen, **who)
    if what == "words":
        spec = spec.model_copy(update={"max_tokens": max(spec.max_tokens, MAX_TOKENS)})
    if what != "poems":
        return _Work(chosen, what, hands or TABLE_HANDS, (spec, prices, price), None, batch)
    number = _number(phase, hands)
    check_quotas(chosen.game.deck, spec.quotas, number)  # a dry run says so too
    return _Work(chosen, what, number, (spec, prices, price), phase_of(number), batch)


def _number(phase: int | None, hands: int | None) -> int:
    """How many hands are meant. Raises `UsageError` if both options say it."""
    if phase is not None and hands is not None:
        raise click.UsageError(f"--phase {phase} and --hands {hands} both say how many hands; give one of them")
    return hands or PHASES[phase or 0]


def _terms(chosen: Chosen, name: str | None, model: str | None, list_path: Path) -> tuple[Teaching, Prices, Price]:
    """The recipe's teacher or another, and what it takes. Raises `TeacherError` for one without its model or price."""
    spec = chosen.recipe.teacher
    fits = name in (None, spec.name, "composer") or (name == "gemini" and spec.model.startswith("gemini"))
    if not (model or fits):
        raise TeacherError(f"--model: {spec.model!r} is none of {name}'s; name the one that is to be asked")
    changed = {key: value for key, value in (("name", name), ("model", model)) if value}
    spec = spec.model_copy(update=changed)
    prices = load_prices(list_path)
    free = spec.name in ("composer", "ollama")
    return spec, prices, FREE if free else price_of(prices, spec.model, list_path)


def _print_poems(done: Taught, course: Course, as_json: bool) -> None:
    """Check the data set that was left, with a report beside it, and print both."""
    splits = [course.poems / f"{split}.jsonl" for split in SPLITS]
    found = check_files([path for path in splits if path.stat().st_size], course.game)
    write_report(course.poems, found)
    _print(done, course.poems, as_json, found.as_json()["counts"])


def _print(done: Taught, where: Path, as_json: bool, problems: Mapping[str, int] | None = None) -> None:
    if as_json:
        fields = {"poems": done.poems, "aside": done.aside, "asked": done.asked, "path": str(where)}
        fields |= {} if problems is None else {"problems": problems}
        click.echo(json.dumps(fields | {"coverage": done.coverage, "ledger": done.ledger}, ensure_ascii=False))
        return
    click.echo(told(done.coverage))
    doubt = f", ${done.ledger['in_doubt_usd']:.4f} in doubt" if done.ledger["in_doubt_usd"] else ""
    click.echo(
        f"{where}: {done.poems} poems, {done.aside} hands put aside, {done.asked} questions now; "
        f"¥{done.ledger['yen']} (${done.ledger['usd']:.4f}{doubt})"
    )
    if problems is not None:
        click.echo(f"{counted(problems)}; {where / PAGE}")


@teacher_group.command("export")
@click.argument("target", type=PATH)
@folder_options
@hands_options
@click.option("--format", "form", type=click.Choice(get_args(Format)), default="gemini", show_default=True)
@click.option("--model", help="As its maker calls it.  [the recipe's]")
@click.option("--all", "everything", is_flag=True, help="The questions too that somebody has answered.")
def export_command(
    chosen: Chosen,
    as_json: bool,
    target: Path,
    phase: int | None,
    hands: int | None,
    form: Format,
    model: str | None,
    everything: bool,
) -> None:
    """Write the questions to TARGET in a batch format, to be answered by whatever means there are."""
    course = _of_files(chosen, model)
    splits = lessons.splits_of(course, _number(phase, hands))
    asks = [ask for some, size in splits.values() for ask in islice(some, size)]
    wanted = asks if everything else lessons.unanswered(course, asks)
    price = course.prices.models.get(course.spec.model, FREE)
    count, left_out = write_asks(target, wanted, course.spec, price, form), len(asks) - len(wanted)
    told = f"{target}: {count} questions" + (f", {left_out} left out that are answered" if left_out else "")
    click.echo(json.dumps({"asks": count, "answered": left_out, "path": str(target)}) if as_json else told)


@teacher_group.command("import")
@click.argument("source", type=PATH)
@folder_options
@hands_options
def import_command(chosen: Chosen, as_json: bool, source: Path, phase: int | None, hands: int | None) -> None:
    """Take the answers in SOURCE (Gemini's or OpenAI's batch output, or pairs, title and poem a line), all checked."""
    course = _of_files(chosen, None)
    done, failed = lessons.take_poems(course, _number(phase, hands), source)
    for line in failed:
        click.echo(f"Warning: {line}", err=True)
    _print_poems(done, course, as_json)


@click.command("costs")
@recipe_options
@hands_options
@click.option("--epochs", type=click.IntRange(1), default=3, show_default=True, help="Times a tuned model sees a poem.")
@click.option("--model", help="The cloud teacher.  [the recipe's]")
@click.option("--prices", "list_path", type=PATH, default=PRICES, help="Another price list.")
def costs_command(
    chosen: Chosen, as_json: bool, phase: int | None, hands: int | None, epochs: int, model: str | None, list_path: Path
) -> None:
    """Compare the ways to a game's poems: a cloud teacher, tuning services, a model of one's own; sources named."""
    spec, prices, price = _terms(chosen, "gemini", model, list_path)
    one = sample_usage(chosen.game, spec.model_copy(update={"cache_ttl_s": 0}), price)
    kept = sample_usage(chosen.game, spec.model_copy(update={"cache_ttl_s": 1}), price)
    found = costs_table.ways(prices, spec.model, one, kept, _number(phase, hands), epochs)
    click.echo(json.dumps([asdict(way) for way in found]) if as_json else costs_table.render(found, prices))


def _of_files(chosen: Chosen, model: str | None) -> Course:
    spec = chosen.recipe.teacher.model_copy(update={"model": model} if model else {})
    return Course(chosen.game, chosen.folder, chosen.out / ROOM, Files(), spec, load_prices(), FREE)


def _print_words(done: Laid, course: Course, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(asdict(done) | {"path": str(course.folder)}, ensure_ascii=False))
        return
    click.echo(
        f"{course.folder}: sentences for {done.wordings} wordings, frames for {done.titles} titles, "
        f"{done.aside} questions put aside, {done.asked} asked now; ¥{done.ledger['yen']} (${done.ledger['usd']:.4f})"
    )


COMMANDS = (teacher_group, costs_command)

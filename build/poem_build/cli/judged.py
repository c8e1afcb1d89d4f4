"""`eval read`, `lm-eval`, `history` and `page`: what people and lm-eval make of it, how the builds went, a page."""

import contextlib
import json
from pathlib import Path

import click

from poem_build.cli import reports
from poem_build.cli.options import PATH, Chosen, folder_options, work_options
from poem_build.errors import ArtifactError, ReadingError
from poem_build.evaluation import harness, history, people
from poem_build.evaluation.names import COMPOSER
from poem_build.evaluation.report import MODEL
from poem_build.models.device import device_of
from poem_build.models.files import model_digest
from poem_build.report import evaluation_table, reading_room, words

_TREND = ("pass.delivered", "pass.first", "conceal.lemma", "sentences.whole")


@click.command("read")
@work_options
@click.option("--writers", "names", default="", metavar="A,B,…", help="Whose poems.  [all that were ranked]")
@click.option("--hands", type=click.IntRange(1), default=12, show_default=True, help="Hands that are read.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen; 0.0.0.0 lets phones in.")
@click.option("--port", type=click.IntRange(0, 65535), default=3017, show_default=True)
@click.option("--count", is_flag=True, help="Only count what has been read.")
def read_command(chosen: Chosen, as_json: bool, names: str, hands: int, host: str, port: int, count: bool) -> None:
    """Let people read the last eval's poems blind, two at a time, and count what they choose."""
    workshop = chosen.workshop()
    writers = [name.strip() for name in names.split(",") if name.strip()]
    file = workshop.out / people.FILE
    if not count:
        there = reports.pairings(workshop, writers, hands)
        if all(one.default is not None for one in there):
            raise ReadingError("nothing to choose between: no hand has poems of two of these writers; name others")
        with reading_room.serve(reading_room.ReadingRoom(there, file), host, port) as server:
            click.echo(f"reading at http://{host}:{server.server_port}/ until Ctrl-C, kept in {file}", err=as_json)
            with contextlib.suppress(KeyboardInterrupt):
                server.serve_forever()
    read = reports.read_by_people(workshop, writers)
    if read and (evaluated := reports.judged(workshop, "eval", workshop.load("gguf"))):
        reports.write(workshop, evaluated)
    _print_read(file, read, as_json)


def _print_read(file: Path, read: people.Read | None, as_json: bool) -> None:
    duels = read.matrix.duels if read else []
    kappa = read.kappa if read else None
    if as_json:
        told = {"readers": read.readers if read else 0, "duels": [one.model_dump(mode="json") for one in duels]}
        click.echo(json.dumps({"path": str(file), "kappa": kappa and kappa.model_dump(mode="json"), **told}))
        return
    rows = [["書き手", "相手", "勝ち", "引き分け", "負け", "勝った割合", "区間"]]
    for one in duels:
        counts = [str(n) for n in (one.won, one.tied, one.lost)]
        names = [words.writer(name) for name in (one.first, one.second)]
        rows.append([*names, *counts, words.value(one.share.value, "share"), words.interval(one.share)])
    if duels:
        click.echo("\n".join(evaluation_table.lines(rows)))
    agreed = f", {kappa.what} {kappa.value:.2f} ({kappa.low:.2f} to {kappa.high:.2f})" if kappa else ""
    told_of = f"{read.readers} readers, {read.judged.asked} pairs read{agreed}" if read else "nobody has read yet"
    click.echo(f"read: {file}: {told_of}")


@click.command("lm-eval")
@work_options
@click.option("--tasks", "names", default="", metavar="A,B,…", help="lm-eval's or yours.  [ours: mansion_…]")
@click.option("--include", type=PATH, default=harness.TASKS, help="A folder of tasks of your own.  [ours]")
@click.option("--server", default="", metavar="URL", help="…/v1/completions or …/v1/chat/completions, not the weights.")
@click.option("--model", default="", help="What the server calls the model.  [as Ollama does]")
@click.option("--limit", type=click.IntRange(1), help="Only so many questions a task.")
def harness_command(
    chosen: Chosen, as_json: bool, names: str, include: Path, server: str, model: str, limit: int | None
) -> None:
    """Have lm-eval try the base and the merged model, or a server, and tell of it in the report."""
    workshop, device = chosen.workshop(), device_of(chosen.recipe).torch
    merged, base, gguf = (workshop.load(role) for role in ("merged", "base", "gguf"))
    asked = {"base": base, "merged": merged}
    subjects = [harness.Subject(name, one.path.resolve(), device) for name, one in asked.items()]
    if server:
        subjects = [harness.Subject(model or chosen.model, merged.path.resolve(), device, server)]
    wish = harness.Wish(tuple(name.strip() for name in names.split(",") if name.strip()), include.resolve(), limit)
    room = chosen.out.resolve() / harness.FOLDER
    tries = harness.run(subjects, wish, chosen.game, room, model_digest(gguf.files))
    if evaluated := reports.judged(workshop, "eval", gguf):
        reports.write(workshop, evaluated)
    if as_json:
        click.echo(tries.model_dump_json())
    else:
        click.echo("\n".join(evaluation_table.tried(tries)))
        click.echo(f"lm-eval: {room}: {len(subjects)} asked, {'in' if evaluated else 'no'} report")


@click.command("history")
@folder_options
def history_command(chosen: Chosen, as_json: bool) -> None:
    """Show how the builds went, draw the trend, and say where one fell."""
    room = chosen.out / history.FOLDER
    for one in history.damaged(room):
        click.echo(f"Warning: {one}; left out", err=True)
    kept = history.history(room)
    if not kept:
        raise ArtifactError(f"{room}: no report; `poem-build eval` makes one")
    page = reports.write_history(room, kept)
    fallen = [reason.what for reason in kept[-1].verdict.reasons if reason.gate == history.REGRESSION]
    if as_json:
        told = [one.model_dump(mode="json", include={"verdict", "provenance", "figures"}) for one in kept]
        click.echo(json.dumps({"path": str(page), "regressions": fallen, "reports": told}, ensure_ascii=False))
    else:
        click.echo(evaluation_table.trend(kept, _TREND))
        told_of = f"the last one fell: {', '.join(fallen)}" if fallen else "the last one did not fall"
        click.echo(f"\nhistory: {page}: {len(kept)} reports, {told_of}")


@click.command("page")
@folder_options
@click.option(
    "--to",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="An HTML file, docs/eval-tiny.html say.",
)
@click.option("--of", "writer", default=MODEL, show_default=True, help="A report on another writer that answered.")
@click.option("--hands", type=click.IntRange(2), help="Play so many anew, which the composer can without a model.")
def page_command(chosen: Chosen, as_json: bool, to: Path, writer: str, hands: int | None) -> None:
    """Write the page of the last eval to another place, or as a report on another of its writers."""
    if hands and writer != COMPOSER:
        raise click.UsageError("--hands goes with --of composer; others play in `poem-build eval`")
    if hands:
        reports.write_composer(chosen.recipe, chosen.game, hands, to)
    else:
        reports.write_of(chosen.workshop(), writer, to)
    click.echo(json.dumps({"path": str(to), "of": writer}) if as_json else f"{to}: {chosen.recipe.name}, {writer}")

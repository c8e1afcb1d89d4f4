"""Recipes, decks and tables as commands: what needs no model."""

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import wraps
from pathlib import Path

import click

from poem.game import Game, load_files
from poem_build.cli.options import (
    PATH,
    Command,
    all_of,
    debug_option,
    game_option,
    json_option,
    load_game_option,
    one_line_errors,
    say_warnings,
)
from poem_build.data import table
from poem_build.data.values import VALUES, draft_values
from poem_build.judge.language import content_lemmas
from poem_build.recipe.schema import Recipe, load_recipe, recipe_names


@click.command("recipes")
@json_option
@debug_option
def recipes_command(as_json: bool, debug: bool) -> None:
    """List the recipes."""
    with one_line_errors(debug):
        found = [load_recipe(name) for name in recipe_names()]
    if as_json:
        click.echo(json.dumps({"recipes": [_row(one) for one in found]}, ensure_ascii=False))
        return
    names, licences = (max(map(len, column)) for column in zip(*((r.name, r.licence) for r in found), strict=True))
    for one in found:
        click.echo(f"{one.name:{names}} {one.params:>7}  {one.licence:{licences}}  {one.status:12}  {one.summary}")


def _row(recipe: Recipe) -> dict[str, object]:
    told = recipe.model_dump(mode="json", include={"name", "params", "licence", "status", "summary", "shape"})
    return told | {"base": recipe.base.name, "family": recipe.base.family, "trained": recipe.train is not None}


def _deck_options(command: Command) -> Command:
    """The options of a command that reads a game, or its two files alone; the command is given it as `game`."""

    @wraps(command)
    def choose(
        folder: Path | None, cards: Path | None, catchphrases: Path | None, debug: bool, **others: object
    ) -> None:
        if folder and (cards or catchphrases):
            raise click.UsageError("--game is beside --cards or --catchphrases; give the folder or the files")
        with one_line_errors(debug):
            game = say_warnings(load_files(cards, catchphrases)) if cards or catchphrases else load_game_option(folder)
            command(game=game, **others)

    return all_of(
        game_option,
        click.option("--cards", type=PATH, help="A cards.json; built in otherwise."),
        click.option("--catchphrases", type=PATH, help="A catchphrases.json; built in otherwise."),
        json_option,
        debug_option,
    )(choose)


@click.command("deck")
@_deck_options
def deck_command(game: Game, as_json: bool) -> None:
    """Check a deck and count what is in it."""
    deck = game.deck
    told = {
        "cards": len(deck.cards),
        "categories": len(deck.categories),
        "wordings": sum(len(card.poems) for card in deck.cards),
        "catchphrases": len(deck.catchphrases),
    }
    click.echo(json.dumps(told) if as_json else ", ".join(f"{n} {what}" for what, n in told.items()))


@click.group("table")
def table_group() -> None:
    """Make, read and write the table of poems that the service falls back on."""


@table_group.command("build")
@click.argument("target", type=PATH)
@_deck_options
@click.option("--hands", type=click.IntRange(1), default=5000, show_default=True, help="How many distinct hands.")
@click.option("--seed", default=0, show_default=True, help="Another seed, other hands.")
@click.option("--with", "written", type=PATH, help="A precomputed_poems.json, whose poems come after those by hand.")
def table_build_command(game: Game, target: Path, hands: int, seed: int, written: Path | None, as_json: bool) -> None:
    """Write TARGET, a table: poems by hand first, then those given, then composed ones."""
    _print(target, as_json, lambda: table.build(game, target, hands, seed, written))


@table_group.command("coverage")
@click.argument("source", type=PATH)
@_deck_options
def table_coverage_command(game: Game, source: Path, as_json: bool) -> None:
    """Say how often the table SOURCE has the very hand, or its cards, for any deal and for prepared ones."""
    told = table.coverage(game, source)
    if as_json:
        click.echo(json.dumps(told, ensure_ascii=False))
        return
    click.echo(f"{'deal':10}{'exact':>10}{'same cards':>12}{'composed':>10}")
    for deal in ("any", "prepared"):
        shares = told[deal]
        click.echo(f"{deal:10}{shares['exact']:>10.3%}{shares['same_cards']:>12.3%}{shares['composed']:>10.3%}")
    sources = ", ".join(f"{count} {source}" for source, count in told["by_source"].items())
    click.echo(
        f"{source}: {told['poems']} poems ({sources}) for {told['card_sets']} card sets; the plan was 30 to 50 %"
    )


@click.command("values")
@click.option("--game", "folder", type=PATH, required=True, help="The folder of a game.")
@json_option
@debug_option
def values_command(folder: Path, as_json: bool, debug: bool) -> None:
    """Draft values.json for the game in a folder: what each wording is worth; what a person wrote there stays."""
    with one_line_errors(debug):
        drafted = draft_values(folder, load_game_option(folder), content_lemmas)
    if as_json:
        click.echo(json.dumps(asdict(drafted) | {"path": str(folder / VALUES)}, ensure_ascii=False))
        return
    click.echo(
        f"{folder / VALUES}: {drafted.kept} kept, {drafted.by_words} by their words, {drafted.by_lemmas} by lemmas, "
        f"{len(drafted.unknown)} of which nobody knows"
    )


@table_group.command("import")
@click.argument("source", type=PATH)
@click.argument("target", type=PATH)
@_deck_options
def table_import_command(game: Game, source: Path, target: Path, as_json: bool) -> None:
    """Write the table TARGET from SOURCE, a precomputed_poems.json."""
    _print(target, as_json, lambda: table.import_json(game.deck, source, target))


@table_group.command("export")
@click.argument("source", type=PATH)
@click.argument("target", type=PATH)
@_deck_options
def table_export_command(game: Game, source: Path, target: Path, as_json: bool) -> None:
    """Write TARGET, a precomputed_poems.json, from the table SOURCE."""
    _print(target, as_json, lambda: table.export_json(game.deck, source, target))


def _print(target: Path, as_json: bool, write: Callable[[], int]) -> None:
    count = write()
    click.echo(json.dumps({"poems": count, "path": str(target)}) if as_json else f"{target}: {count} poems")


COMMANDS = (recipes_command, deck_command, values_command, table_group)

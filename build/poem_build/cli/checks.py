"""A stage that is about to run → one line beforehand if the machine is too small for it."""

from pathlib import Path
from random import Random

from poem.game import Game
from poem.hand import deal, draw_candidates
from poem.prompt import render_prompt
from poem_build.errors import PlanError
from poem_build.models.shapes import shape_of
from poem_build.plan.machine import free_disk, free_memory, free_vram, gpu_count
from poem_build.plan.plan import Lengths, Machine, needs_of, training_of
from poem_build.recipe.schema import Recipe

_TOKENS_A_CHARACTER = 0.8
"""Of Japanese text; tokenizers of 2025 take from 0.6 to 1."""
_ANSWER = 260
"""Characters of a poem with its title, as JSON."""
_TURNS = 30
"""Tokens of markers and roles."""
CHECKED = {"train": "train", "merge": "merge", "convert": "convert", "quantize": "quantize", "register": "serve"}
"""Stages, and what the plan calls what they take."""


def machine_here(out: Path) -> Machine:
    """What is free on this machine."""
    return Machine(free_vram(), free_memory(), free_disk(out), gpu_count())


def lengths_of(recipe: Recipe, game: Game) -> Lengths:
    """Tokens of a hand's prompt and answer by their characters, and how many examples there will be."""
    rng = Random("a sample")
    prompt = render_prompt(game.instructions, deal(game.deck, rng), draw_candidates(game.deck, rng))
    asked = sum(len(message["content"]) for message in prompt.messages())
    answer = round(_ANSWER * _TOKENS_A_CHARACTER)
    handwritten = recipe.dataset.handwritten * sum(not poem.held_out for poem in game.poems)
    return Lengths(round(asked * _TOKENS_A_CHARACTER) + answer + _TURNS, answer, recipe.dataset.train + handwritten)


def check_stage(recipe: Recipe, game: Game, stage: str, out: Path) -> None:
    """Raise `PlanError` if the machine has not the memory that the plan reckons for the stage."""
    shape = shape_of(recipe) if stage in CHECKED else None
    if shape is None:
        return
    machine, lengths = machine_here(out), lengths_of(recipe, game)
    how = training_of(recipe, lengths, gpu=machine.vram is not None)
    wanted = [one for one in needs_of(recipe, shape, how, lengths, machine) if one.stage == CHECKED[stage]]
    if lacks := machine.lacks(wanted, 0):
        raise PlanError(f"recipe {recipe.name}: {lacks[0]}; `poem-build plan` names the nearest that fits")
